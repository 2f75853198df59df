"""Trains or evaluates a model; ``python train_net.py --help`` tells how."""

import sys

from clipmask.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
