"""One conversation with one server."""
