"""MODEL.DEVICE -> the device that is really there."""

from __future__ import annotations

import logging

import torch

from clipmask.errors import UserError

logger = logging.getLogger(__name__)


def resolve_device(name: str) -> torch.device:
    """Turns the value of MODEL.DEVICE into a device of this machine.

    Args:
        name: cuda, cuda:N, mps or cpu. Where CUDA is absent, cuda becomes the CPU with one logged
            warning.

    Returns:
        The device; ``cuda`` without a number keeps no index.

    Raises:
        UserError: not such a name, or a device that this machine does not have.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"MODEL.DEVICE {name!r} is no device; say cuda, cuda:1, mps or cpu"
        ) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            logger.warning(
                "MODEL.DEVICE is %s but PyTorch finds no CUDA device here: running on the CPU", name
            )
            return torch.device("cpu")
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            raise UserError(
                f"MODEL.DEVICE {name}: this machine has {count} CUDA device(s), numbered from 0"
            )
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(
                "MODEL.DEVICE mps: PyTorch finds no Apple GPU here; say MODEL.DEVICE cpu"
            )
    elif device.type != "cpu":
        raise UserError(f"MODEL.DEVICE {name!r} is not supported; say cuda, cuda:1, mps or cpu")
    return device
