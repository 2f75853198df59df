"""Letters beyond ASCII are drawn with a font that has them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from clipmask import fonts
from clipmask.errors import UserError
from clipmask.visualizer.legend import Entry, draw_legend
from clipmask.visualizer.lettering import load_font


def _masks(text: str) -> set[bytes]:
    font = load_font(30, [text])
    return {bytes(font.getmask(letter)) for letter in text}


@pytest.mark.parametrize("text", ["road", "Äôß", "дорога", "ουρανός", "Łód"])
def test_each_letter_has_a_shape_of_its_own(text: str) -> None:
    assert len(_masks(text)) == len(set(text))


def test_ascii_keeps_pillows_own_font() -> None:
    assert fonts.find_font(["road", "sky 12.5%"]) is None


def test_a_legend_in_another_script_differs_by_its_words() -> None:
    drawn = [draw_legend(300, [Entry([255, 0, 0], text)], 20) for text in ("небо", "река")]
    assert not np.array_equal(*drawn)


def test_what_no_font_has_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_installed", lambda: ())
    fonts._font_for.cache_clear()
    with caplog.at_level(logging.WARNING):
        fonts.find_font(["道路"])
        fonts.find_font(["道路"])
    assert len(caplog.records) == 1
    assert fonts.VARIABLE in caplog.text
    fonts._font_for.cache_clear()


def test_a_font_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import matplotlib

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSerif.ttf")
    monkeypatch.setenv(fonts.VARIABLE, str(file))
    fonts._font_for.cache_clear()
    font = load_font(20, ["road"])
    assert isinstance(font, ImageFont.FreeTypeFont)
    assert font.getname()[0] == "DejaVu Serif"
    monkeypatch.setenv(fonts.VARIABLE, str(tmp_path))
    fonts._font_for.cache_clear()
    with pytest.raises(UserError, match=fonts.VARIABLE):
        load_font(20, ["road"])
    monkeypatch.undo()
    fonts._font_for.cache_clear()
