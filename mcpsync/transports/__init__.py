"""Carrying messages: one request out, its answer and what comes before it back."""
