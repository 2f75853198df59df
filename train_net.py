"""Trains or evaluates a model; ``python train_net.py --help`` tells how."""

import sys

try:
    from clipmask.cli.train import main
except ValueError as error:  # clipmask.UserError, which can't be imported either: a Detectron2 that is broken
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
