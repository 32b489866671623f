"""The command ``mcpsync``: an edge of the library, on click and rich."""
