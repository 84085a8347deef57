"""The durable queue, the worker and events. Knows nothing of what a job does."""
