"""Clients of other systems. They import nothing from the service."""
