"""Reading of JSON and XML files, with errors that name the file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from clipmask.errors import UserError

_VIOLATIONS = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: the file can't be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"annotations {path}: can't be read ({error})") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"annotations {path}: is no JSON ({error})") from error


def read_xml(path: Path) -> ElementTree.Element:
    """Reads an XML file.

    Raises:
        UserError: the file can't be read, or is not XML.
    """
    try:
        return ElementTree.parse(path).getroot()
    except OSError as error:
        raise UserError(f"annotations {path}: can't be read ({error})") from error
    except ElementTree.ParseError as error:
        raise UserError(f"annotations {path}: is no XML ({error})") from error


@contextmanager
def reading(path: Path, format: str) -> Iterator[None]:
    """Turns what is raised within, because a file violates its format, into a readable error.

    Args:
        path: the file.
        format: whose it is, such as ``Labelme's``, for the message.

    Raises:
        UserError: it names the file and the exception.
    """
    try:
        yield
    except UserError:
        raise
    except (*_VIOLATIONS, OSError, zlib.error) as error:
        raise UserError(
            f"annotations {path}: not as {format} format says: {type(error).__name__}: {error}"
        ) from error
