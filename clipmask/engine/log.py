"""Logging: messages of the logger ``clipmask`` go to the console, above progress bars, and to
log.txt.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from clipmask.errors import RunStopped, UserError
from clipmask.escaping import escaped
from clipmask.weights.checkpoint import describe

LOGGER = "clipmask"
ONLY_FILE = {"only_file": True}  # `extra` of a message that the command prints by itself
# `extra` of a message that the progress bar tells a terminal already
SHOWN_BY_BAR = {"shown_by_bar": True}


class _ConsoleHandler(logging.Handler):
    """Writes to stdout, above a progress bar where one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "only_file", False) or (
            getattr(record, "shown_by_bar", False) and sys.stderr.isatty()
        ):
            return
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


class _Formatter(logging.Formatter):
    """Time, then the level where it is a warning or worse, then the message.

    Control characters in it are escaped; its further lines can't be taken for messages of their
    own, which begin with the time in brackets.
    """

    def __init__(self, prefix: str = "") -> None:
        super().__init__("[%(asctime)s] %(message)s", "%m/%d %H:%M:%S")
        self._prefix = prefix

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname}: {self._prefix}{record.message}"
        record.message = escaped(record.message, keep="\n\t").replace("\n[", "\n  [")
        return super().formatMessage(record)


@contextmanager
def run_log(folder: str | Path, main: bool = True) -> Iterator[None]:
    """Context of a run: its messages, and the error that ends it, go to the console and to
    ``folder``/log.txt.

    Args:
        folder: made if need be; an earlier log.txt is continued.
        main: False in the other processes of a run, which stay silent but for errors.

    Raises:
        UserError: the folder can't be written to.
    """
    log = logging.getLogger(LOGGER)
    before = log.level
    handlers: list[logging.Handler] = [_ConsoleHandler()]
    if main:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            handlers.append(_LogFile(Path(folder) / "log.txt", encoding="utf-8"))
        except OSError as error:
            raise UserError(
                f"OUTPUT_DIR {folder} can't be written to ({error}); name another folder"
            ) from error
    for handler in handlers:
        handler.setFormatter(_Formatter())
        log.addHandler(handler)
    log.setLevel(logging.INFO if main else logging.ERROR)
    try:
        with _last_words(log if main else _log_of_others(folder)):
            yield
    finally:
        log.setLevel(before)
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


class _LogFile(logging.handlers.WatchedFileHandler):
    """log.txt, made again where it was removed. Where it can't be written to, the run goes on, as
    the console says.
    """

    _failed = False

    def reopenIfNeeded(self) -> None:
        try:
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            super().reopenIfNeeded()
        except OSError as error:
            self._tell(error)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._tell(error)
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()  # which writes what is left
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._failed:  # once
            self._failed = True
            tqdm.write(
                f"WARNING: {self.baseFilename} can't be written to: {describe(error)}",
                file=sys.stderr,
            )


@contextmanager
def _last_words(log: logging.Logger) -> Iterator[None]:
    """Writes into log.txt what ends a run; the console has it from the command."""
    try:
        yield
    except RunStopped as stopped:
        log.warning("%s", stopped)
        raise
    except UserError as error:
        log.error("%s", error, extra=ONLY_FILE)
        raise
    except BaseException as error:
        log.error("ended by %s", type(error).__name__, exc_info=True, extra=ONLY_FILE)
        raise


def _log_of_others(folder: str | Path) -> logging.Logger:
    """A logger that appends to log.txt, with the number of this process; the file is opened at the
    first message.
    """
    log = logging.Logger(f"{LOGGER} process")
    handler = logging.FileHandler(Path(folder) / "log.txt", encoding="utf-8", delay=True)
    handler.setFormatter(
        _Formatter(f"process {os.environ.get('RANK', os.environ.get('LOCAL_RANK', '?'))}: ")
    )
    log.addHandler(handler)
    return log
