"""What trains: one file per backend, found by entry points of the group `tunesmith.backends`."""
