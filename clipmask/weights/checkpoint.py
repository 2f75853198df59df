"""Checkpoint files: written completely or not at all, and read without running code in them.

A training checkpoint is a dict of tensors and plain Python values:

    model       weights that evaluation uses (the averaged ones where SOLVER.EMA_DECAY is on)
    ema         None, or {"updates": int, "trained": the weights in training}
    optimizer, scheduler, precision, meter     their state dicts
    rng         one random state per process
    iteration   the last finished step, 0-based
    trainer     the same values once more, where Detectron2's trainers look for them
    seed        of the run
    config      YAML text;  versions
    licenses    of the data and of the weights it started from, see licenses.py
    class_names, metadata    the first dataset's vocabulary (colours, aliases, prompts, members) and
                             its ignore label;
                metadata["vocabularies"]: the same of further datasets with other classes

Equal contents make equal bytes; neither the name of the file nor the history of the run matters.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from clipmask.errors import UserError, first_line, listed
from clipmask.paths import refuse_bomb
from clipmask.vocabulary import Vocabulary
from clipmask.weights.foreign import read_weight_file, without_wrapper
from clipmask.weights.mistaken import told_apart
from clipmask.weights.names import find_weights
from clipmask.weights.packed import unpack

LAST = "last_checkpoint"  # the file that names the newest checkpoint of a folder, as in Detectron2
TEMPORARY = re.compile(r"\..+\.tmp")  # what a file is called while it is written
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def trained_vocabularies(checkpoint: Mapping[str, Any]) -> tuple[Vocabulary, ...]:
    """Returns the vocabularies that a checkpoint was trained with; none if it does not name them.

    Raises:
        UserError: what it says of them contradicts itself.
    """
    names, metadata = checkpoint.get("class_names"), checkpoint.get("metadata")
    if not isinstance(names, list):
        return ()
    first = metadata if isinstance(metadata, dict) else {}
    others = first.get("vocabularies", [])
    return tuple(map(Vocabulary.from_metadata, ({**first, "stuff_classes": names}, *others)))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replaces the file ``path``. After a crash either the old or the new file exists, complete.

    Args:
        path: the file; its folder exists.
        write: is given a binary file.

    Raises:
        UserError: the disk is full or not writable.
    """
    # Of its own in each call: two processes that write the same file replace each other's, and
    # never mix them.
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{secrets.token_hex(8)}.tmp")
    watched = None
    try:
        try:
            with temporary.open("xb") as file:
                watched = _Watched(file)
                write(cast(IO[bytes], watched))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    # torch.save's own error for a failed write is the second
    except (OSError, RuntimeError) as error:
        reason = describe(watched.error if watched and watched.error else error)
        raise UserError(
            f"{path}: could not be written ({reason}); an older file is untouched"
        ) from error


def describe(error: BaseException) -> str:
    """Returns the text of an error. If the disk is full, the text says so first."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"disk full: {error}"
    return str(error)


class _Watched:
    """A binary file that remembers why a write failed, which torch.save does not tell."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut, where the system can open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical(value: Any) -> Any:
    """Rebuilds nested tensors and plain values so that equal values pickle to equal bytes.

    Pickle writes an object that it meets again as a reference, and tensors with their whole
    storage; both depend on how a value came about. Here equal strings are one object, and tensors
    are compact copies on the CPU.

    Raises:
        TypeError: something that is neither a tensor nor a plain value.
    """
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, str):
        return sys.intern(str(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, int | float):
        if isinstance(value, int):
            return int(value)
        return float(value)
    if isinstance(value, dict):
        return {canonical(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, tuple):
        return tuple([canonical(item) for item in value])
    raise TypeError(f"a checkpoint holds tensors and plain values, not {type(value).__name__}")


def save_checkpoint(path: str | Path, state: dict[str, Any], *, last: bool = True) -> None:
    """Writes a checkpoint, then, where ``last``, its name into the folder's ``last_checkpoint``.

    Args:
        path: the file to write or replace; its folder is made.
        state: tensors and plain Python values, nested.
        last: whether ``--resume`` is to continue from here.

    Raises:
        UserError: the file can't be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = canonical(state)
    if {"optimizer", "scheduler", "iteration"} <= plain.keys():
        plain["trainer"] = _for_detectron2(plain)
    write_atomically(path, lambda file: torch.save(plain, file))
    if last:
        write_atomically(path.parent / LAST, lambda file: file.write(path.name.encode()))


def _for_detectron2(state: dict[str, Any]) -> dict[str, Any]:
    """Returns what Detectron2's ``DefaultTrainer`` looks for when it resumes; without it, it
    would begin at the first step and say nothing.

    The values are those of ``state`` themselves, so that the file does not grow by them.
    """
    trainer = {"iteration": state["iteration"], "optimizer": state["optimizer"]}
    if state.get("precision"):
        trainer["grad_scaler"] = state["precision"]
    return {
        "iteration": state["iteration"],
        "hooks": {"LRScheduler": state["scheduler"]},
        "_trainer": trainer,
    }


def last_checkpoint(folder: str | Path) -> Path | None:
    """Returns the file that the folder's ``last_checkpoint`` names; it may be missing. None if
    there is no name.

    Raises:
        UserError: ``last_checkpoint`` holds no name of a file in this folder.
    """
    pointer = Path(folder) / LAST
    if not pointer.is_file():
        return None
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{pointer}: damaged ({error})") from error
    if not name.isprintable() or name in ("", ".", "..") or Path(name).name != name:
        raise UserError(f"{pointer}: holds {name[:80]!r}, not the name of a checkpoint beside it")
    return Path(folder) / name


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU; code in it does not run.

    Args:
        path: a checkpoint of ClipMask or Detectron2 (``{"model": ...}``), a bare state dict,
            .safetensors, or the .pkl of Detectron2's model zoo; or a name or address of one, see
            ``clipmask.weights.names.find_weights``.

    Returns:
        A dict with at least ``model``, names to tensors.

    Raises:
        UserError: the file is missing, damaged, holds objects other than tensors and plain values,
            or no weights.
    """
    path = find_weights(path)
    if path.suffix == ".pkl":
        return {"model": read_weight_file(path)}
    content: Any = unpack(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(content, dict):  # a tensor by itself, a list
        raise UserError(
            f"checkpoint {path}: holds {type(content).__name__}, not a dict with the model's"
            " weights"
        )
    checkpoint: dict[str, Any] = (
        content if isinstance(content.get("model"), dict) else {"model": content}
    )
    weights = checkpoint["model"]
    if not weights or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise UserError(
            f"checkpoint {path}: has no model weights (a dict of tensors, bare or under 'model')"
        )
    checkpoint["model"] = without_wrapper(weights)
    return checkpoint


def of_backbone(weights: dict[str, Tensor], own: Iterable[str]) -> dict[str, Tensor] | None:
    """Recognises the weights of a backbone alone and renames them as a whole model names them.

    Args:
        weights: names to tensors.
        own: names of the whole model's weights.

    Returns:
        The weights that the model's backbone has, under the model's names; None if the file holds a
        whole model or another backbone.
    """
    names = set(own)
    if names & weights.keys():
        return None
    for prefix in ("backbone.", "backbone.body.", "backbone.bottom_up."):
        found = {prefix + name: value for name, value in weights.items() if prefix + name in names}
        if found:
            return found
    return None


def _read_torch(path: Path) -> Any:
    refuse_bomb(path, "checkpoint")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()  # torch does not compare the checksums that it wrote
            if broken is not None:
                raise UserError(
                    f"checkpoint {path}: damaged (the checksum of {broken} is wrong); use"
                    " another one"
                )
        with warnings.catch_warnings():
            # torch wonders about unusual pickles; it reads them or raises
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    # the readers of zip, pickle and tensors each have their own errors for garbage
    except Exception as error:
        if what := told_apart(path, error):
            raise UserError(f"checkpoint {path}: {what}") from error
        reason = first_line(error)
        raise UserError(f"checkpoint {path}: damaged, or not a PyTorch file ({reason})") from error


class LeftOut(NamedTuple):
    """A weight that was not loaded: its name, the kind of reason, and details."""

    name: str
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.detail or self.reason}"


def load_weights(
    model: nn.Module, state: dict[str, Tensor], source: str | Path, *, strict: bool = True
) -> list[LeftOut]:
    """Copies weights into ``model``.

    Args:
        model: changed in place.
        state: names to tensors.
        source: where they come from, for messages.
        strict: whether anything missing, left over or of another shape is an error; else it is left
            out.

    Returns:
        What was left out, on either side; empty where ``strict``.

    Raises:
        UserError: ``strict`` and the weights do not fit, or nothing fits, or one is not finite.
    """
    broken = [
        name
        for name, value in state.items()
        if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise UserError(
            f"{source}: {len(broken)} of its {len(state)} weights hold NaN or infinity, {broken[0]}"
            " first: the training that made it diverged; use an earlier checkpoint"
        )
    own = model.state_dict()
    wrong: set[str] = set()
    fitting: dict[str, Any] = {}
    for name, value in state.items():
        if name in own and own[name].shape != value.shape:
            wrong.add(name)
        else:
            fitting[name] = value
    result = model.load_state_dict(fitting, strict=False)
    problems = [
        LeftOut(
            name,
            "of another shape",
            f"{tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model",
        )
        for name in sorted(wrong)
    ]
    problems += [
        LeftOut(name, "missing in the file") for name in result.missing_keys if name not in wrong
    ]
    problems += [LeftOut(name, "unknown to the model") for name in result.unexpected_keys]
    if len(result.unexpected_keys) + len(wrong) == len(state):
        raise UserError(
            f"{source}: none of its {len(state)} weights fits the model."
            f" {listed(problems, 10, '; ')}"
        )
    if strict and problems:
        raise UserError(
            f"{source}: {len(problems)} weight(s) do not fit the model that the config describes;"
            f" use the config of the run that made it. {listed(problems, 10, '; ')}"
        )
    return problems
