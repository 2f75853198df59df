"""Runs the command: ``python -m clipmask.cli.data``."""

import sys

from clipmask.cli.data.command import main

if __name__ == "__main__":
    sys.exit(main())
