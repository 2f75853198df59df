"""Runs the command: ``python -m clipmask.cli.serve``."""

import sys

from clipmask.cli.serve.command import main

if __name__ == "__main__":
    sys.exit(main())
