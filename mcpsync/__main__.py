"""``python -m mcpsync``: the same as the command ``mcpsync``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
