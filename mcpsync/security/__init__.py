"""Decisions about what may be reached, and what may be shown."""
