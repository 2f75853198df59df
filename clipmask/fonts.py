"""Which font has all letters of some texts: Pillow's own where it does, else one that is installed.

Pillow's own has Latin letters. Matplotlib comes with DejaVu Sans, which has Greek, Cyrillic, Arabic
and others. Chinese, Japanese and Korean need a font of the system, or one that CLIPMASK_FONT names.
"""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import ImageFont

from clipmask.errors import UserError

logger = logging.getLogger(__name__)

VARIABLE = "CLIPMASK_FONT"
_NO_CHARACTER = "\U0010ffff"  # drawn as every letter that a font lacks


def find_font(texts: Iterable[str]) -> Path | None:
    """Returns the file of a font for these texts; None where Pillow's own has all their letters.

    Where no font has all of them, the one that has most is returned, and a warning names the way
    out, once for the same letters.

    Raises:
        UserError: the environment variable CLIPMASK_FONT names no font.
    """
    letters = frozenset(
        letter for text in texts for letter in text if not letter.isspace() and letter.isprintable()
    )
    return _font_for(letters)


@functools.lru_cache(maxsize=256)
def _font_for(letters: frozenset[str]) -> Path | None:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return _checked(Path(chosen).expanduser())
    if all(map(str.isascii, letters)) or all(map(_in_own_font, letters)):
        return None
    best, most = None, -1
    for path in _installed():
        count = len(letters & _letters(path))
        if count > most:
            best, most = path, count
        if most == len(letters):
            return best
    missing = "".join(sorted(letters - (_letters(best) if best else frozenset())))
    logger.warning(
        "no installed font has the letters %s of the class names, which are drawn as boxes: install"
        " one that has (Noto Sans CJK for Chinese, Japanese and Korean), or name its file in the"
        " environment variable %s",
        missing[:20],
        VARIABLE,
    )
    return best


@contextmanager
def chart_letters(texts: Iterable[str]) -> Iterator[None]:
    """Lets Matplotlib draw with a font that has the letters of these texts; what no font has is a
    box, without a further warning.
    """
    import matplotlib
    from matplotlib import font_manager

    path, families = find_font(texts), ["DejaVu Sans"]
    if path is not None:
        font_manager.fontManager.addfont(path)
        families.append(font_manager.FontProperties(fname=path).get_name())
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def _checked(path: Path) -> Path:
    try:
        ImageFont.truetype(str(path), 12)
    except OSError as error:
        raise UserError(
            f"{VARIABLE} {path}: is no font that can be read ({error}); name a .ttf, .otf or .ttc"
        ) from error
    return path


@functools.cache
def _installed() -> tuple[Path, ...]:
    """The fonts of Matplotlib and of the system, upright ones of usual weight first."""
    import matplotlib
    from matplotlib import font_manager

    shipped = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    system = sorted(map(Path, font_manager.findSystemFonts()))
    usual = [path for path in system if not _is_special(path.stem.lower())]
    return (shipped, *usual, *(path for path in system if path not in set(usual)))


def _is_special(stem: str) -> bool:
    marks = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "condensed", "narrow")
    return any(mark in stem for mark in marks)


@functools.cache
def _letters(path: Path) -> frozenset[str]:
    """The letters of a font; none where it can't be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(str(path)).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@functools.cache
def _in_own_font(letter: str) -> bool:
    """Whether Pillow's own font draws a letter otherwise than one that it lacks."""
    font = _own_font()
    if not isinstance(font, ImageFont.FreeTypeFont):
        return False
    return _drawn(font, letter) != _drawn(font, _NO_CHARACTER)


@functools.cache
def _own_font() -> Any:
    try:
        return ImageFont.load_default(size=24)
    except (TypeError, ImportError, OSError):  # Pillow before 10.1 or built without FreeType
        return None


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> tuple[bytes, tuple[int, int]]:
    mask = font.getmask(letter)
    return bytes(mask), mask.size
