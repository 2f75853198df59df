"""Trains or evaluates a model; ``python train_net.py --help`` tells how."""

import sys

from clipmask.cli.start import train

if __name__ == "__main__":
    sys.exit(train())
