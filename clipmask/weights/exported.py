"""The description in the file of an exported network.

Under the key ``clipmask`` its metadata hold a JSON object:

    names, colors     class names and their [r, g, b], in the order of the ids
    output            ``labels``: uint8 (B, H, W), or ``scores``: float32 (B, K, H, W)
    size              [H, W] of the pictures that the network takes; null: any size
    text              null: the classes are fixed; else T of ``names``: the bytes of float32 (K, D),
                      in base64
    config, class_names, metadata, versions, ...     as in a packed checkpoint, see packed.py
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError
from clipmask.weights.packed import known_entries

KEY = "clipmask"
IMAGE, TEXT = "image", "text"  # the network's inputs
NEEDED = ("names", "colors", "output", "size", "text", "config", "class_names")


def describe(
    checkpoint: dict[str, Any],
    *,
    names: tuple[str, ...],
    colors: list[list[int]],
    output: str,
    size: tuple[int, int] | None,
    text: NDArray[np.float32] | None,
) -> str:
    """Returns the JSON text; see the head of this file.

    Args:
        checkpoint: what the network was made from.
        names: of the classes.
        colors: theirs.
        output: ``labels`` or ``scores``.
        size: H and W, or None for any.
        text: T (K, D), for a network that takes it as an input.
    """
    rows = None
    if text is not None:
        rows = base64.b64encode(text.astype("<f4").tobytes()).decode()
    own = {"names": list(names), "colors": colors, "output": output, "size": size, "text": rows}
    return json.dumps({**known_entries(checkpoint), **own}, sort_keys=True)


def read_description(text: str | None, source: str | Path) -> dict[str, Any]:
    """Reads the JSON text of a file.

    Args:
        text: the metadata's entry ``KEY``; None where the file has none.
        source: the file, for messages.

    Returns:
        The object, with ``text`` as float32 (K, D) or None.

    Raises:
        UserError: the file is no exported ClipMask, or its description is damaged.
    """
    if text is None:
        raise UserError(
            f"{source}: its metadata have no entry {KEY!r}; name a file that clipmask-export wrote"
        )
    try:
        description = json.loads(text)
        missing = [key for key in NEEDED if key not in description]
        if description["text"] is not None:
            rows = np.frombuffer(base64.b64decode(description["text"]), dtype="<f4")
            description["text"] = rows.reshape(len(description["names"]), -1).astype(np.float32)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{source}: the description in its metadata is damaged ({error})"
        ) from error
    if missing:
        raise UserError(f"{source}: the description in its metadata lacks {', '.join(missing)}")
    return description
