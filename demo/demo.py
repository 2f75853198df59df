"""Segments pictures, films and the webcam's picture; ``python demo/demo.py --help`` tells how."""

import sys

from clipmask.cli.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
