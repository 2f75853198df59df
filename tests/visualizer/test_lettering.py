"""Text takes the room that it says, with any font."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from clipmask.visualizer.lettering import font_size, load_font, text_size, write


def test_text_grows_with_pictures() -> None:
    assert font_size((20, 2000)) == 11
    assert font_size((520, 1000)) == 20
    assert font_size((5000, 5000)) == 48


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("text", ["Ågj", "road", "車"])
def test_what_is_written_stays_in_its_room(
    text: str, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:  # Pillow before 10.1 takes no size; its font lacks most scripts
        bitmap = ImageFont.load_default_imagefont()
        monkeypatch.setattr(ImageFont, "load_default", lambda: bitmap)
    font = load_font(20)
    width, height = text_size(text, font)
    canvas = Image.new("RGB", (200, 100))
    write(ImageDraw.Draw(canvas), (100, 50), text, font, (255, 255, 255))
    rows, columns = np.nonzero(np.asarray(canvas)[..., 0])
    assert rows.size
    assert 100 - width / 2 - 2 <= columns.min() <= columns.max() <= 100 + width / 2 + 2
    assert 50 - height / 2 - 2 <= rows.min() <= rows.max() <= 50 + height / 2 + 2
