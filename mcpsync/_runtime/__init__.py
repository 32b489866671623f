"""Threads and time: what everything above is built on. No MCP in here."""
