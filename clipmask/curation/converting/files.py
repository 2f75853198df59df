"""Reading of JSON and XML files, with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from clipmask.errors import UserError


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


def fault(path: Path, what: str, error: Exception) -> UserError:
    """Returns the error for a file that violates its format."""
    return UserError(f"annotations {path}: {what}: {type(error).__name__}: {error}")
