"""How many pictures of a batch go through the model together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

# Pixels that go through the model together on a CPU: with more, the maps of a batch no longer fit
# its caches, and the system clears fresh memory for them at every call. A picture of 480x360
# in a batch of 8 or 16 took up to 1.8 times as long as one by itself.
CPU_PIXELS = 2**18
Result = TypeVar("Result")


def in_parts(
    call: Callable[[list[dict[str, Any]]], Sequence[Result]],
    inputs: Sequence[dict[str, Any]],
    device: str,
) -> list[Result]:
    """Runs a model on a batch, on a CPU in parts that are not slower than single pictures.

    Args:
        call: from dataset dicts to one result each.
        inputs: dataset dicts with an ``image`` (channels, H, W), all of one size.
        device: the type of the model's device.

    Returns:
        The results, in order.
    """
    together = len(inputs)
    if device == "cpu":
        height, width = inputs[0]["image"].shape[-2:]
        together = max(1, CPU_PIXELS // (height * width))
    results: list[Result] = []
    for first in range(0, len(inputs), together):
        results += call(list(inputs[first : first + together]))
    return results
