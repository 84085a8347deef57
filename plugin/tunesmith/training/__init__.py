"""Training: the plan (time, memory, hyper-parameters), the trainer, checks, checkpoints and backends."""
