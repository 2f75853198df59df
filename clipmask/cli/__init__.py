"""The commands, with the exit statuses that they share."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import ParamSpec

from clipmask.errors import RunStopped, UserError
from clipmask.escaping import escaped

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
_P = ParamSpec("_P")


def command(body: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Returns the ``main`` of a command.

    Args:
        body: takes the arguments without the program's name; None: those of ``sys.argv``.

    Returns:
        A function of the same arguments, by default None. It returns the exit status, see
        ``run_main``.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        return run_main(body, argv)

    return main


def run_main(function: Callable[_P, int | None], *args: _P.args, **kwargs: _P.kwargs) -> int:
    """Runs the body of a command and converts its errors and signals to an exit status.

    Args:
        function: the body; it returns an exit status, or None for 0.
        args: the arguments of the body.
        kwargs: the keyword arguments of the body.

    Returns:
        The status of ``function``; 2 after a ``UserError``, which is printed on stderr without a
        traceback; 130 after Ctrl-C; 75 after another signal that ended a training, which asks a
        scheduler to start the job again (only the main process returns it, the others return 0).
    """
    # Only the final error reports a hub that can't be reached, not each attempt of its library.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        status = function(*args, **kwargs) or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        rank = os.environ.get("LOCAL_RANK", "0")
        where = "" if rank == "0" else f" (process {rank})"
        print(f"error{where}: {escaped(_own_words(error))}", file=sys.stderr)
        return 2
    except RunStopped as stopped:
        if stopped.signal == "SIGINT":
            return 130
        return TRY_AGAIN
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        return 141  # the exit status that a shell gives for an end by SIGPIPE


def _reader_is_gone() -> bool:
    """Returns whether the program that reads the output, such as ``head``, has ended.

    If it has, later output is discarded.
    """
    try:
        print(flush=True)  # output that failed before is not written again
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _own_words(error: UserError) -> str:
    """Returns the message of an error without a traceback.

    Errors from the worker process of a data loader contain the traceback of that process.
    """
    return str(error).rsplit(f"{UserError.__module__}.{UserError.__qualname__}: ", 1)[-1].strip()


def _load_seam() -> None:
    importlib.import_module("clipmask.d2")


# This package is imported before the module of any command. If Detectron2 is installed but can't be
# used, the command ends here with one line, instead of a traceback from a later import.
if _status := run_main(_load_seam):
    sys.exit(_status)
