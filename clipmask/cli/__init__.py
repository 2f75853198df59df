"""The commands: what they share is how they explain themselves and how they end."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

from clipmask.errors import RunStopped, UserError
from clipmask.escaping import escaped

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
_P = ParamSpec("_P")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Examples as written, defaults beside each option; one without a value says in its text what
    happens then.
    """

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default not in (None, []) else action.help


def run_main(function: Callable[_P, int | None], *args: _P.args, **kwargs: _P.kwargs) -> int:
    """Runs the body of a command and turns what ends it into an exit status.

    Args:
        function: the body; returns an exit status, None for 0.
        args: its arguments.
        kwargs: its keyword arguments.

    Returns:
        The status of ``function``; 2 after a ``UserError``, printed on stderr as one paragraph
        without a traceback; 130 after Ctrl-C; 75, which asks a scheduler to start the job again,
        after another signal that a training took as a wish to end (its processes beside the main
        one end with 0).
    """
    # A hub that can't be reached is reported once, by the error, and not at each of its library's
    # attempts.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        return function(*args, **kwargs) or 0
    except UserError as error:
        rank = os.environ.get("LOCAL_RANK", "0")
        where = "" if rank == "0" else f" (process {rank})"
        print(f"error{where}: {escaped(_own_words(error))}", file=sys.stderr)
        return 2
    except RunStopped as stopped:
        return 130 if stopped.signal == "SIGINT" else TRY_AGAIN
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _own_words(error: UserError) -> str:
    """The message alone: an error from a data loader's process comes with that process's traceback
    around it.
    """
    return str(error).rsplit(f"{UserError.__module__}.{UserError.__qualname__}: ", 1)[-1].strip()


def _load_seam() -> None:
    importlib.import_module("clipmask.d2")


# However a command is started, this package is imported before the command's own module, whose
# imports would meet a Detectron2 that can't be used: here it ends every command, written or yet to
# be written, in one line.
if _status := run_main(_load_seam):
    sys.exit(_status)
