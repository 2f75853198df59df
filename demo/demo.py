"""Segments pictures, films and the webcam's picture; ``python demo/demo.py --help`` tells how."""

import sys

try:
    from clipmask.cli.demo import main
except ValueError as error:  # clipmask.UserError, which can't be imported either: a Detectron2 that is broken
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
