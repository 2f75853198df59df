"""Reading of class names from the command line."""

from __future__ import annotations

from pathlib import Path

from clipmask.errors import UserError


def read_vocabulary(text: str, option: str = "--vocabulary") -> list[str]:
    """Returns the class names in the value of an option.

    Args:
        text: names separated by commas, or the path of a text file (.txt) with one name per line.
        option: the name of the option, for messages.

    Raises:
        UserError: the file is missing or not text, or there are no names.
    """
    path = Path(text)
    if path.suffix.lower() != ".txt":
        names = text.split(",")
    else:
        try:
            names = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{option} {path}: can't be read as UTF-8 text ({error})") from error
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise UserError(f"{option} {text}: holds no class name")
    return names
