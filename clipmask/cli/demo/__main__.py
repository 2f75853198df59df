"""Runs the command: ``python -m clipmask.cli.demo``."""

import sys

from clipmask.cli.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
