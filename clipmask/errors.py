"""The exceptions, mistakes of the user and the request to end a run, and phrases of messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """A mistake in what the user gave: a file, a config key, a name, a missing download.

    Its message is one paragraph that names the file, key or value and says the way out. The
    commands print it without a traceback and exit with status 2; library users may catch it as a
    ``ValueError``.

    Args:
        message: see above.
        key: the config key at fault, such as ``MODEL.CLIP.NAME``; empty if it is none.

    Attributes:
        key: as given. Programs and tests should read it and not the wording of the message.
    """

    def __init__(self, message: str = "", *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class MissingText(UserError):
    """Text embeddings are not where they were looked for. Another source may have them."""


class NameTakenError(UserError):
    """Another project has registered a name that ClipMask needs."""


class RunStopped(KeyboardInterrupt):
    """A run was asked to end, by Ctrl-C or by a scheduler's signal.

    Args:
        signal: its name, such as SIGTERM.
        where: how far the run had come, for the message.

    Attributes:
        signal: its name.
    """

    def __init__(self, signal: str, where: str = "") -> None:
        how = "interrupted" if signal == "SIGINT" else f"stopped by {signal}"
        super().__init__(f"{how} {where}".strip())
        self.signal = signal


def listed(items: Sequence[object], most: int = 4, separator: str = ", ") -> str:
    """Returns the first ``most`` items for a message, and says how many more there are."""
    text = separator.join(map(str, items[:most]))
    if len(items) > most:
        return f"{text} and {len(items) - most} more"
    return text


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str, *, most: int = 1, cutoff: float = 0.6
) -> str:
    """Returns a question that names what is spelt alike, or ``otherwise`` if nothing is.

    Args:
        name: what the user wrote.
        known: the right names.
        otherwise: the hint without a similar name.
        most: the largest number of names in the question.
        cutoff: the least likeness, from 0 to 1, see ``difflib.get_close_matches``.
    """
    near = difflib.get_close_matches(name, list(known), n=most, cutoff=cutoff)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return otherwise


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception's message; without a message, the exception's type."""
    lines = str(error).strip().splitlines()
    if lines:
        return lines[0]
    return type(error).__name__
