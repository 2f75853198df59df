"""The folder of a run, OUTPUT_DIR: its newest checkpoint, the files of earlier runs, its lock."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from clipmask.engine.log import run_log
from clipmask.errors import UserError
from clipmask.weights.checkpoint import (
    LAST,
    TEMPORARY,
    describe,
    last_checkpoint,
    load_checkpoint,
)
from clipmask.weights.stored import stored_values

try:
    import fcntl
except ImportError:  # Windows: there the folder has no lock
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

LOCK = ".lock"
# of a checkpoint that training goes on from
NEEDED = ("optimizer", "scheduler", "meter", "rng", "iteration")
_NUMBERED = re.compile(r"model_(\d+)\.pth")
_RUN_FILES = (
    "config.yaml",
    "metrics.json",
    "trackers.json",
    LAST,
    "model_*.pth",
    "events.out.tfevents.*",
    "pictures",
    "inference",
)


class Found(NamedTuple):
    """A checkpoint's file and its content."""

    path: Path
    checkpoint: dict[str, Any]


def newest_checkpoint(folder: Path, *, training: bool = True) -> Found | None:
    """Returns the newest usable checkpoint of a folder; None if the folder has no checkpoint.

    It is the one that ``last_checkpoint`` names. If that file is missing, or the checkpoint cannot
    be read, it is the ``model_*.pth`` with the highest iteration, and a warning names both.

    Args:
        folder: OUTPUT_DIR.
        training: whether training will continue from it, which needs more than weights.

    Raises:
        UserError: there are checkpoints, but none of them can be used.
    """
    problems: list[str] = []
    for path in _candidates(folder, problems):
        try:
            checkpoint = load_checkpoint(path)
            _check(path, checkpoint, training)
        except UserError as error:
            problems.append(str(error))
            continue
        if problems:
            logger.warning(
                "%s; the newest checkpoint that can be used is %s", "; ".join(problems), path
            )
        return Found(path, checkpoint)
    if problems:
        raise UserError(f"no checkpoint of {folder} can be used: {'; '.join(problems)}")
    return None


def _candidates(folder: Path, problems: list[str]) -> Iterator[Path]:
    """The checkpoint that is named, then the others from the newest on; a name that is none goes to
    ``problems``.
    """
    pointed = None
    try:
        pointed = last_checkpoint(folder)
    except UserError as error:
        problems.append(str(error))
    if pointed is not None and not pointed.is_file():
        problems.append(f"{folder / LAST} names {pointed.name}, which is not there")
    elif pointed is not None:
        yield pointed
    others = set(folder.glob("model_*.pth")) - {pointed, *folder.glob("model_best*.pth")}
    if pointed is None and others and not problems:
        problems.append(f"{folder / LAST} is missing")
    yield from sorted(others, key=_age, reverse=True)


def _age(path: Path) -> int:
    """The last finished step of a checkpoint, by its name or else by its content; -1 where neither
    says.
    """
    if match := _NUMBERED.fullmatch(path.name):
        return int(match[1])
    try:
        return int(load_checkpoint(path).get("iteration", -1))
    except UserError:
        return -1


def _check(path: Path, checkpoint: dict[str, Any], training: bool) -> None:
    missing = [key for key in NEEDED if key not in checkpoint]
    if training and missing:
        raise UserError(
            f"checkpoint {path}: holds no {', '.join(missing)}, so training can't go on from it;"
            " start a new run from its weights with MODEL.WEIGHTS"
        )


def refuse_earlier_run(folder: Path) -> None:
    """Keeps a new run out of a folder that holds another's checkpoints.

    Raises:
        UserError: there is a checkpoint.
    """
    files = [*folder.glob("model_*.pth"), *folder.glob(LAST)]
    if files:
        raise UserError(
            f"OUTPUT_DIR {folder} holds an earlier run ({min(files).name}): --resume goes on with"
            " it, --start-over begins again and moves its files aside; or name another OUTPUT_DIR"
        )


def set_aside(folder: Path, config: str) -> Path | None:
    """Moves the files of an earlier run into a new folder ``earlier_N`` of OUTPUT_DIR.

    log.txt stays and is continued. A config.yaml that stands alone may be the user's own file; it
    is moved too, unless the new run would write the same.

    Args:
        folder: OUTPUT_DIR.
        config: the text of config.yaml that the new run will write.

    Returns:
        The new folder; None where there was nothing to move.

    Raises:
        UserError: a file can't be moved.
    """
    files = [path for pattern in _RUN_FILES for path in sorted(folder.glob(pattern))]
    if not files or (files == [folder / "config.yaml"] and _holds(files[0], config)):
        return None
    number = 1
    while (aside := folder / f"earlier_{number}").exists():
        number += 1
    try:
        aside.mkdir()
        for path in files:
            path.rename(aside / path.name)
    except OSError as error:
        raise UserError(
            f"the earlier run in {folder} can't be moved to {aside} ({error})"
        ) from error
    logger.info("what an earlier run had left in %s was moved to %s", folder, aside)
    return aside


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


class RunFolder:
    """OUTPUT_DIR, locked for one run.

    Args:
        path: made if need be.

    Raises:
        UserError: another job writes to the folder, or it can't be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = self._take()
        for left in path.iterdir():
            # a process was killed while it wrote; nobody else writes here now
            if TEMPORARY.fullmatch(left.name):
                left.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Makes the folder again, and locks it, where it was removed; tells whether it was.

        Raises:
            UserError: another job has it now, or it can't be made.
        """
        try:
            if os.path.samestat(os.stat(self.path / LOCK), os.fstat(self._lock.fileno())):
                return False
        except OSError:
            pass
        lock = self._take()
        self._lock.close()
        self._lock = lock
        return True

    def close(self) -> None:
        """Lets other jobs in."""
        self._lock.close()

    def _take(self) -> IO[str]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            reason = describe(error)
            raise UserError(
                f"OUTPUT_DIR {self.path} can't be written to ({reason}); name another folder"
            ) from error
        try:
            _lock(lock, self.path)
        except BaseException:
            lock.close()
            raise
        return lock


@contextmanager
def run_folder(folder: Path, main: bool = True) -> Iterator[RunFolder | None]:
    """Context of a run: makes OUTPUT_DIR, locks it, and sends log messages to its log.txt.

    Args:
        folder: OUTPUT_DIR.
        main: False in the other processes of a run, which share the lock of the main one.

    Raises:
        UserError: another job writes to the folder, or it can't be written to.
    """
    own = RunFolder(folder) if main else None
    try:
        with run_log(folder, main):
            yield own
    finally:
        if own is not None:
            own.close()


def best_score(folder: Path, datasets: Sequence[str], logged: float = -math.inf) -> float:
    """Returns the score of model_best.pth on DATASETS.TEST.

    If the file is missing or damaged, the score is minus infinity, so that the next evaluation
    writes a new one. If its score is of other datasets, it cannot be compared, and the file is
    renamed so that it is not lost.

    Args:
        folder: OUTPUT_DIR.
        datasets: DATASETS.TEST.
        logged: the best score in metrics.json, used if the file does not hold its own.
    """
    path = folder / "model_best.pth"
    if not path.is_file():
        return -math.inf
    try:
        content = load_checkpoint(path)
    except UserError as error:
        logger.warning("%s; the next best model takes its place", error)
        return -math.inf
    named = stored_values(content).get("DATASETS.TEST")
    tested = list(datasets)
    if isinstance(named, list) and named:
        tested = named
    if tested != list(datasets):
        kept = path.with_name(
            f"model_best_{re.sub(r'[^A-Za-z0-9_-]', '_', '+'.join(tested))[:200]}.pth"
        )
        path.replace(kept)
        logger.warning(
            "%s was the best on %s; it is called %s now", path, " + ".join(tested), kept.name
        )
        return -math.inf
    score = content.get("score")
    if isinstance(score, int | float):
        return float(score)
    return logged


def _lock(lock: IO[str], folder: Path) -> None:
    """Locks the open file for this process, and writes into it who that is; the system frees it
    when the process ends.

    A record lock, for it is not inherited: a loader process that outlives a killed run for some
    seconds holds nothing.
    """
    if fcntl is None:
        return
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise UserError(
            f"OUTPUT_DIR {folder} is in use: {_owner(lock)} writes to it; name another folder, or wait for "  # noqa: E501
            "it or end it"
        ) from None
    except OSError as error:  # some network file systems
        logger.warning(
            "%s: its file system has no locks (%s); see to it that one job alone writes there",
            folder,
            error,
        )
        return
    lock.seek(0)
    lock.truncate()
    owner = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    lock.write(json.dumps(owner) + "\n")
    lock.flush()


def _owner(lock: IO[str]) -> str:
    lock.seek(0)
    try:
        owner = json.loads(lock.read())
        return f"process {owner['process']} on {owner['host']}, begun {owner['since']},"
    except (ValueError, KeyError, TypeError):  # it has the lock, and has not written yet
        return "another process"
