"""``python -m fastdeblur`` is the command ``fastdeblur``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
