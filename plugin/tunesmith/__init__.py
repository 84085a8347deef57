"""Tunesmith makes fine-tuning a tool that automations call."""

__version__ = "0.1.0"
