"""Colours of classes: told apart by every eye, the same in every run and, where it can be, in every
vocabulary.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipmask.data.datasets import camvid, cityscapes
from clipmask.visualizer import colorize, palette
from clipmask.visualizer.colors import PALETTE, linear_to_lab

COLORS = [[128, 64, 128], [0, 0, 142], [70, 130, 180]]
# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency", 2009, severity 1.0, in linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
CITYSCAPES = list(cityscapes.CLASSES)
CAMVID = list(camvid.CLASSES)


def least_distance(colors: object, sight: str) -> float:
    """The smallest distance in CIELAB between two colours as an eye sees them; 2.3 is just
    noticeable.
    """
    scaled = np.asarray(colors, dtype=float) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    seen = linear_to_lab(np.clip(linear @ np.transpose(SIGHT[sight]), 0, 1))
    distance = np.linalg.norm(seen[:, None] - seen, axis=-1)
    return float(distance[~np.eye(len(distance), dtype=bool)].min())


@pytest.mark.parametrize("sight", SIGHT)
def test_colors_stay_distinct_for_every_eye(sight: str) -> None:
    assert least_distance(PALETTE[:10], sight) > 16
    assert least_distance(PALETTE, sight) > 14
    for names in (CAMVID, CITYSCAPES):
        assert least_distance(palette(names), sight) > 14


def test_lab_is_that_of_known_colors() -> None:
    """sRGB's red, white and black as tables give them."""
    lab = linear_to_lab(np.array([[1.0, 0, 0], [1, 1, 1], [0, 0, 0]]))
    np.testing.assert_allclose(lab, [[53.24, 80.09, 67.20], [100, 0, 0], [0, 0, 0]], atol=0.05)


def test_usual_classes_have_their_color_in_every_vocabulary() -> None:
    colors = dict(zip(CAMVID, palette(CAMVID), strict=True))
    for names in (
        CITYSCAPES,
        CAMVID[::-1],
        ["zebra crossing", "road;street", "x", "car"],
        ["Sky", "snow", "ice"],
    ):
        for name, color in zip(names, palette(names), strict=True):
            plain = name.split(";")[0].lower()
            assert color == colors.get(plain, color), name
    assert palette(["road"]) == [[105, 60, 90]], "colours are part of saved pictures"


@settings(max_examples=50)
@given(
    st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, max_size=40, unique=True),
    st.data(),
)
def test_a_home_is_kept_unless_another_has_it(names: list[str], data: st.DataObject) -> None:
    """Who has the colour that is theirs alone loses it only to a class whose own colour it is
    too.
    """
    alone = {name: palette([name])[0] for name in names}
    chosen = dict(zip(names, palette(names), strict=True))
    assert len({tuple(color) for color in chosen.values()}) == len(names)
    for name in names if len(names) > 6 else ():  # fewer move apart
        rivals = [other for other in names if alone[other] == alone[name]]
        assert chosen[name] == alone[name] or any(
            chosen[other] == alone[other] for other in rivals if other != name
        )
    order = data.draw(st.permutations(names))
    assert palette(order) == [chosen[name] for name in order]


def test_many_classes_have_colors_of_their_own() -> None:
    many = palette([f"class {index}" for index in range(300)])
    assert len({tuple(color) for color in many}) == 300
    assert all(0 <= channel <= 255 for color in many for channel in color)
    assert palette(["road"] * 2) == palette(["road"]) * 2
    synonyms = palette(["car;automobile", "car;vehicle", "car"])
    assert len({tuple(color) for color in synonyms}) == 3


def test_given_colors_are_kept_and_kept_clear_of() -> None:
    sky = palette(["sky"])[0]
    near = [sky[0] + 2, sky[1], sky[2]]
    car, heaven = palette(["car", "sky"], {"car": near, "unknown": [1, 2, 3]})
    assert car == near
    assert heaven != sky
    assert palette(["car", "sky"], {"car": [0, 0, 0]}) == [[0, 0, 0], sky]


@settings(max_examples=50)
@given(st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=2, max_size=5, unique=True))
def test_few_classes_are_far_apart(names: list[str]) -> None:
    assert least_distance(palette(names), "normal") > 38
    assert least_distance(palette(["background", *names]), "normal") > 30


@pytest.mark.parametrize(
    "names", [["background", "tumour"], ["background", "crop", "weed"], ["_background_", "cell"]]
)
def test_background_and_things_are_told_apart_by_every_eye(names: list[str]) -> None:
    for sight in SIGHT:
        assert least_distance(palette(names), sight) > (40 if sight == "normal" else 20)
    assert palette(names)[0] == [60, 60, 60]
    assert palette(names, {names[0]: [1, 2, 3]})[0] == [1, 2, 3]


def test_colorize_is_exact() -> None:
    labels = np.array([[0, 1, 2], [255, -1, 99]])
    assert colorize(labels, COLORS).tolist() == [COLORS, [[0, 0, 0]] * 3]
