"""The protocol without I/O: what the bytes mean, and what they should be."""
