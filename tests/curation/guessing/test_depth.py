"""Which values become black and white is read off the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask.curation.guessing.depth import guess_depth
from clipmask.data.image_format import PLAIN

NOISE = np.random.default_rng(0).random((50, 60))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((NOISE * 255).astype(np.uint8), None),
        ((NOISE * 65535).astype(np.uint16), None),
        ((NOISE * 4095).astype(np.uint16), (0, 4095)),
        ((NOISE * 1023).astype(np.uint16), (0, 1023)),
        (np.where(NOISE > 0.999, 20000, 200 + NOISE * 2000).astype(np.uint16), (210, 2190)),
        (NOISE.astype(np.float32) - 0.5, (-0.495, 0.495)),
    ],
)
def test_the_range_that_is_used(
    tmp_path: Path, values: np.ndarray, expected: tuple[float, float] | None
) -> None:
    path = tmp_path / ("a.tif" if values.dtype == np.float32 else "a.png")
    Image.fromarray(values).save(path)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    found = guess_depth([tmp_path / "broken.png", path]).format
    if expected is None:
        assert found == PLAIN
    else:
        assert found.range is not None
        assert found.range == pytest.approx(expected, rel=0.02)


def test_nothing_to_look_at(tmp_path: Path) -> None:
    assert guess_depth([tmp_path / "none.png"]).format == PLAIN
