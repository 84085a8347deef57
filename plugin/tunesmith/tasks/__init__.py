"""What a model must do. One file per task; see `base.py`."""
