"""Weights by name: a file, a folder that holds one, a model that comes with the package, or a
repository of a hub.
"""

from __future__ import annotations

from pathlib import Path

from clipmask.errors import UserError, did_you_mean
from clipmask.paths import user_path
from clipmask.shipped import shipped_folder
from clipmask.weights.addresses import is_address, local_file
from clipmask.weights.hub import HUB, download

# The one place that says which model comes with the package: its own name, and its file in models/.
STREET_MODEL = ("street-lite2", "street_lite2.safetensors")
# What a command takes where no other model is named. Pages and tests name it so, whichever it is.
OWN_MODEL = "clipmask-street"
MODELS = {OWN_MODEL: STREET_MODEL[1], STREET_MODEL[0]: STREET_MODEL[1]}  # name to file
# What a folder's model may be called, first choice first: of a packed model, then of a training's
# OUTPUT_DIR.
FILES = ("model.safetensors", "model_best.pth", "model_final.pth")


def shipped_model(name: str) -> Path:
    """Returns the file of a model that comes with the package, one of ``MODELS``."""
    return shipped_folder("models") / MODELS[name]


def find_weights(source: str | Path) -> Path:
    """Returns the file that a name of weights means; one of a hub is downloaded, or found in the
    hub's cache.

    Args:
        source: the path of a file; of a folder with one of ``FILES``; a name of ``MODELS``;
            ``hf-hub:owner/name``, behind which ``@revision`` may stand; or an address, see
            ``local_file``. A file or folder comes first.

    Raises:
        UserError: there is no such file, folder or name; the folder holds no model; or the hub does
            not give it.
    """
    text = str(source)
    if is_address(text):  # which may be longer than a path
        return local_file(text)
    path = user_path(source)
    if path.is_file():
        return path
    if path.is_dir():
        for name in FILES:
            if (path / name).is_file():
                return path / name
        raise UserError(
            f"checkpoint {path}: a folder without a model; it would be called {' or '.join(FILES)}"
        )
    if text in MODELS:
        return shipped_model(text)
    if text.startswith(HUB):
        return download(text)
    known = f"by name there are {', '.join(MODELS)} and {HUB}owner/name"
    hint = did_you_mean(text, MODELS, known)
    raise UserError(f"checkpoint {source}: no such file; {hint}")
