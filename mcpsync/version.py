"""The version, in one place: ``setup.py`` and ``clientInfo`` both read it here."""

__version__ = "0.1.0"
