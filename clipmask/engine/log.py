"""Where the messages of the logger ``clipmask`` go: the console, around progress bars, and log.txt."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from clipmask.errors import UserError

LOGGER = "clipmask"
SHOWN_BY_BAR = {"shown_by_bar": True}  # `extra` of a message that the progress bar tells a terminal already


class _ConsoleHandler(logging.Handler):
    """Writes to stdout, above a progress bar where one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "shown_by_bar", False) and sys.stderr.isatty():
            return
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


class _Formatter(logging.Formatter):
    """Time, then the level where it is a warning or worse, then the message."""

    def __init__(self) -> None:
        super().__init__("[%(asctime)s] %(message)s", "%m/%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname}: {record.message}"
        return super().formatMessage(record)


@contextmanager
def run_log(folder: str | Path, main: bool = True) -> Iterator[None]:
    """Sends the messages of a run to the console and to ``folder``/log.txt while it lasts.

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
            handlers.append(logging.FileHandler(Path(folder) / "log.txt", encoding="utf-8"))
        except OSError as error:
            raise UserError(f"OUTPUT_DIR {folder} can't be written to ({error}); name another folder") from error
    for handler in handlers:
        handler.setFormatter(_Formatter())
        log.addHandler(handler)
    log.setLevel(logging.INFO if main else logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
