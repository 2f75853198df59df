"""What label maps hold is told from their pixels, and why is said."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from clipmask.curation.guessing.naming import NameFile, read_names
from clipmask.curation.guessing.pixels import LabelPixels, look, read_sample
from clipmask.curation.guessing.values import Guess, guess_values, rename
from clipmask.data.datasets.camvid import CLASSES as CAMVID
from clipmask.errors import UserError
from tests.curation.guessing.trees import COLORS, colored, grey, photo, save, voc


def _guess(folder: Path, *maps: Image.Image, names: str | None = None) -> Guess:
    paths = [folder / f"{number}.png" for number in range(len(maps))]
    for image, path in zip(maps, paths, strict=True):
        save(image, path)
    return guess_values(
        read_sample(paths), None if names is None else NameFile(folder / "n.txt", read_names(names))
    )


def _ids(*values: int) -> Image.Image:
    return Image.fromarray(np.repeat(np.array(values, np.uint8), 20).reshape(-1, 20))


@pytest.mark.parametrize(
    ("values", "classes", "ignore"),
    [
        ((0, 1, 2), [0, 1, 2], 255),
        ((0, 1, 2, 255), [0, 1, 2], 255),
        ((7, 8, 11, 255), [7, 8, 11], 255),
        ((0, 255), [0, 255], 254),
        ((0, 127, 254, 255), [0, 127, 254, 255], 253),
        ((0, 85, 170, 255), [0, 85, 170, 255], 254),
        ((0, 5, 12, 80, 147, 255), [0, 5, 12, 80, 147], 255),  # few of many classes
    ],
)
def test_ids(tmp_path: Path, values: tuple[int, ...], classes: list[int], ignore: int) -> None:
    guess = _guess(tmp_path, _ids(*values))
    assert guess.encoding == "ids"
    assert [item.id for item in guess.classes] == classes
    assert guess.ignore_ids == (ignore,)
    assert [item.name for item in guess.classes] == [
        f"class_{place}" for place in range(len(classes))
    ]


def test_names_of_ids_and_the_one_that_is_void(tmp_path: Path) -> None:
    guess = _guess(tmp_path, _ids(0, 1, 2), names="road\nsky\nvoid\ntree\n")
    assert [(item.name, item.id) for item in guess.classes] == [
        ("road", 0),
        ("sky", 1),
        ("tree", 3),
    ]
    assert guess.ignore_ids == (2,)
    assert "void" in guess.why["void"]


def test_one_palette_gives_ids_their_colours_and_several_count_by_colour(tmp_path: Path) -> None:
    guess = _guess(tmp_path, voc(), voc())
    assert guess.encoding == "ids"
    assert guess.classes[1].color == (128, 0, 0)
    assert guess.ignore_ids == (255,)
    other = voc()
    other.putpalette([200, 100, 0] * 256)
    guess = _guess(tmp_path, voc(), other)
    assert guess.encoding == "palette"
    assert (200, 100, 0) in [item.color for item in guess.classes]


def test_a_palette_of_greys_names_no_colours(tmp_path: Path) -> None:
    image = _ids(0, 1, 2)
    image.putpalette(np.repeat(np.arange(256), 3).astype(np.uint8).tobytes())
    assert [item.color for item in _guess(tmp_path, image).classes] == [None] * 3


def test_colours(tmp_path: Path) -> None:
    guess = _guess(tmp_path, colored())
    assert guess.encoding == "rgb"
    assert {item.color for item in guess.classes} == set(COLORS)
    assert guess.void_colors == ()


def test_black_is_void_where_it_is_drawn_as_lines_and_a_class_where_it_fills(
    tmp_path: Path,
) -> None:
    assert _guess(tmp_path, colored(border=True)).void_colors == ((0, 0, 0),)
    filled = np.asarray(colored()).copy()
    filled[:20, :30] = 0
    guess = _guess(tmp_path, Image.fromarray(filled))
    assert guess.void_colors == ()
    assert (0, 0, 0) in [item.color for item in guess.classes]
    assert "move [0, 0, 0]" in guess.why["void"]


def test_the_border_of_pascal_voc(tmp_path: Path) -> None:
    guess = _guess(tmp_path, voc().convert("RGB"))
    assert guess.void_colors == ((224, 224, 192),)
    assert (0, 0, 0) in [item.color for item in guess.classes], "VOC's background is a class"
    pixels = np.asarray(voc().convert("RGB")).copy()
    pixels[5:9] = (1, 2, 3)
    assert _guess(tmp_path, Image.fromarray(pixels)).void_colors == ()


def test_camvids_colours_name_themselves(tmp_path: Path) -> None:
    colors = [*CAMVID.values(), (0, 0, 0)]
    guess = _guess(
        tmp_path, Image.fromarray(np.repeat(np.array(colors, np.uint8), 20, 0).reshape(-1, 20, 3))
    )
    assert [item.name for item in guess.classes] == list(CAMVID)
    assert guess.void_colors == ((0, 0, 0),)


def test_smoothed_edges_are_no_classes(tmp_path: Path) -> None:
    pixels = np.asarray(colored().resize((600, 400), Image.Resampling.NEAREST)).copy()
    pixels[0, :200] = np.random.default_rng(0).integers(0, 256, (200, 3))
    guess = _guess(tmp_path, Image.fromarray(pixels))
    assert {item.color for item in guess.classes} == set(COLORS)
    assert "smoothed edges" in guess.why["classes"]


def test_new_names_in_order_and_as_many(tmp_path: Path) -> None:
    guess = _guess(tmp_path, _ids(0, 4))
    assert [(item.name, item.id) for item in rename(guess, ["a", "b"]).classes] == [
        ("a", 0),
        ("b", 4),
    ]
    with pytest.raises(UserError, match=r"3 names, but 2 classes were found: 0, 4"):
        rename(guess, ["a", "b", "c"])


def test_nothing_to_conclude_from(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pixels = read_sample([tmp_path / "broken.png"])
    assert pixels.files == 0
    with pytest.raises(UserError, match="could be read"):
        guess_values(pixels, None)
    with pytest.raises(UserError, match="void"):
        guess_values(LabelPixels(files=1, modes=Counter(L=1), ids=Counter({255: 9})), None)


def test_how_files_look(tmp_path: Path) -> None:
    save(photo(), tmp_path / "a.png")
    save(grey(3), tmp_path / "b.png")
    save(grey(3), tmp_path / "b.jpg")
    save(photo(), tmp_path / "a.jpg")
    names = ("a.png", "b.png", "b.jpg", "none.png", "a.jpg")
    looks = [look(tmp_path / name) for name in names]
    assert looks[1] == ("L", False, 3, 0.0)
    assert looks[2] is not None
    assert looks[2].lossy
    assert looks[2].could_be_labels  # flat, as labels saved as JPEG are
    assert looks[4] is not None
    assert not looks[4].could_be_labels
    assert looks[0] is not None
    assert looks[0].values > 1000
    assert looks[3] is None


def test_names_of_void_make_void(tmp_path: Path) -> None:
    guess = rename(_guess(tmp_path, _ids(0, 3, 5)), ["road", "Void", "sky"])
    assert [(item.name, item.id) for item in guess.classes] == [("road", 0), ("sky", 5)]
    assert guess.ignore_ids == (255, 3)
    guess = rename(_guess(tmp_path, colored()), ["a", "b", "unlabeled", "c"])
    assert len(guess.classes) == 3
    assert guess.void_colors == (sorted(COLORS)[2],)
    with pytest.raises(UserError, match="all classes void"):
        rename(_guess(tmp_path, _ids(1, 2)), ["void", "ignore"])


def smooth(image: Image.Image) -> Image.Image:
    """As an editor that smooths edges saves it."""
    large = image.resize((image.width * 5, image.height * 5), Image.Resampling.NEAREST)
    return large.filter(ImageFilter.GaussianBlur(1))


def test_few_smoothed_colours_are_no_classes_either(tmp_path: Path) -> None:
    """Fewer than those that were always taken for smoothing."""
    image = smooth(colored())
    assert 4 < len(image.getcolors(100_000) or ()) < 64
    guess = _guess(tmp_path, image)
    assert {item.color for item in guess.classes} == set(COLORS)
    assert guess.tolerance > 20


def test_smoothed_masks_of_one_channel_are_read_by_tolerance(tmp_path: Path) -> None:
    image = smooth(Image.fromarray(np.asarray(grey(2)) * np.uint8(255)))
    guess = _guess(tmp_path, image)
    assert [item.color for item in guess.classes] == [(0, 0, 0), (255, 255, 255)]
    assert guess.tolerance > 20


@pytest.mark.parametrize("thin", [(0,), (2, 3), (9, 17, 12)])
@pytest.mark.parametrize("areas", [(1, 4, 5), (0, 1, 255), (7, 26, 255)])
def test_thin_classes_of_ids_are_no_smoothed_edges(
    tmp_path: Path, thin: tuple[int, ...], areas: tuple[int, ...]
) -> None:
    """Each id lies between two others, as a blend of greys would."""
    labels = np.repeat(np.array(areas, np.uint8), 20)[None].repeat(40, 0)
    labels[list(range(5, 5 + 4 * len(thin), 4))] = np.array(thin, np.uint8)[:, None]
    guess = _guess(tmp_path, Image.fromarray(labels))
    assert guess.encoding == "ids"
    assert [item.id for item in guess.classes] == sorted({*thin, *areas} - {255})


def test_a_thin_class_is_no_smoothed_edge(tmp_path: Path) -> None:
    """Two pixels wide, but in no blend of its neighbours' colours."""
    pixels = np.asarray(colored()).copy()
    pixels[:, 20:22] = (250, 240, 10)
    assert len(_guess(tmp_path, Image.fromarray(pixels)).classes) == 5


def test_transparent_pixels_are_void_or_what_is_around(tmp_path: Path) -> None:
    pixels = np.dstack([np.asarray(colored()), np.full((40, 60), 255, np.uint8)])
    pixels[:10, :, 3] = 0
    guess = _guess(tmp_path, Image.fromarray(pixels))
    assert (guess.encoding, guess.transparent, len(guess.classes)) == ("rgb", "void", 4)
    pixels[..., :3] = (200, 0, 0)
    guess = _guess(tmp_path, Image.fromarray(pixels))
    assert guess.transparent == "background"
    assert [(item.name, item.color) for item in guess.classes] == [
        ("background", None),
        ("class_0", (200, 0, 0)),
    ]


@pytest.mark.parametrize(
    ("values", "clear", "names", "classes", "ignored"),
    [
        ((0, 1, 2), 0, None, [1, 2], (255, 0)),
        ((0, 1, 2, 255), b"\xff\xff\x00", None, [0, 1], (255, 2)),
        ((0, 1, 2), 5, None, [0, 1, 2], (255,)),  # which no pixel has
        ((0, 1), 0, None, [0, 1], (255,)),  # the background of a single class
        ((0, 1, 2), 0, "ground\nroad\nsky\n", [0, 1, 2], (255,)),  # a class, for it has a name
    ],
)
def test_ids_that_a_file_marks_as_transparent_are_void(
    tmp_path: Path,
    values: tuple[int, ...],
    clear: int | bytes,
    names: str | None,
    classes: list[int],
    ignored: tuple[int, ...],
) -> None:
    image = _ids(*values)
    # whole, because Pillow stores fewer bits per pixel with a short palette
    image.putpalette([channel for color in COLORS for channel in color] * 64)
    path = tmp_path / "a.png"
    image.save(path, transparency=clear)
    given = None if names is None else NameFile(tmp_path / "n.txt", read_names(names))
    guess = guess_values(read_sample([path]), given)
    assert [item.id for item in guess.classes] == classes
    assert guess.ignore_ids == ignored
    assert ("transparent" in guess.why["void"]) == (len(ignored) > 1)


def test_files_with_nan_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, np.nan], [1, 2]], np.float32)).save(path)
    with pytest.raises(UserError, match="1 of them hold NaN"):
        guess_values(read_sample([path]), None)


def test_one_stray_file_does_not_decide_the_encoding(tmp_path: Path) -> None:
    guess = _guess(tmp_path, *[_ids(0, 1, 2)] * 12, colored())
    assert guess.encoding == "ids"
    assert [item.id for item in guess.classes] == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_ids_may_be_stored_as_floats_or_with_a_sign(
    tmp_path: Path, dtype: type[np.generic]
) -> None:
    Image.fromarray(np.repeat([[0, 1, 2, -1]], 20, 0).astype(dtype)).save(tmp_path / "a.tif")
    guess = guess_values(read_sample([tmp_path / "a.tif"]), None)
    assert guess.encoding == "ids"
    assert [item.id for item in guess.classes] == [0, 1, 2]
    assert guess.ignore_ids == (-1,)


@pytest.mark.parametrize(
    ("dtype", "void"),
    [
        (np.uint16, (65535,)),
        (np.int32, (-(2**31),)),
        (np.int32, (-9999,)),
        (np.int32, (-1, -9999)),
        (np.float32, (-9999,)),
    ],
)
def test_no_data_of_raster_tools_is_void(
    tmp_path: Path, dtype: type[np.generic], void: tuple[int, ...]
) -> None:
    values = np.array([0, 1, 2, *void]).astype(dtype)
    Image.fromarray(np.repeat(values[None], 20, 0)).save(tmp_path / "a.tif")
    guess = guess_values(read_sample([tmp_path / "a.tif"]), None)
    assert [item.id for item in guess.classes] == [0, 1, 2]
    assert guess.ignore_ids == void


def test_the_largest_number_may_be_a_class(tmp_path: Path) -> None:
    values = np.repeat(np.array([[0, 65535]], np.uint16), 20, 0)
    Image.fromarray(values).save(tmp_path / "a.tif")
    guess = guess_values(read_sample([tmp_path / "a.tif"]), None)
    assert [item.id for item in guess.classes] == [0, 65535]


def test_numbers_of_instances_are_no_classes(tmp_path: Path) -> None:
    values = np.repeat(np.array([0, 7, 26000, 26001, 11000], np.uint16), 20).reshape(-1, 20)
    with pytest.raises(UserError, match=r"1000.*// 1000"):
        _guess(tmp_path, Image.fromarray(values))
    names = "0: void\n7: road\n11000: wall\n26000: car\n26001: bus\n"
    guess = _guess(tmp_path, Image.fromarray(values), names=names)
    assert [item.name for item in guess.classes] == ["road", "wall", "car", "bus"]


def _listed(folder: Path, *values: int) -> Guess:
    save(_ids(*values), folder / "0.png")
    file = NameFile(folder / "n.txt", read_names("sky\nroad\ncar\n"), by_place=True)
    return guess_values(read_sample([folder / "0.png"]), file)


@pytest.mark.parametrize("values", [(1, 2, 3), (1, 3), (1, 2, 3, 255)])
def test_a_list_begins_at_one_where_ids_do(tmp_path: Path, values: tuple[int, ...]) -> None:
    guess = _listed(tmp_path, *values)
    assert {item.id: item.name for item in guess.classes} == {1: "sky", 2: "road", 3: "car"}
    assert "1 to 3" in guess.why["classes"]


@pytest.mark.parametrize("values", [(0, 127, 255), (0, 100, 200), (3, 17, 40, 255)])
def test_a_list_of_as_many_names_fits_levels_in_their_order(
    tmp_path: Path, values: tuple[int, ...]
) -> None:
    guess = _listed(tmp_path, *values)
    assert {item.id: item.name for item in guess.classes} == dict(
        zip(values, ("sky", "road", "car"), strict=False)
    )
    assert "in this order" in guess.why["classes"]


@pytest.mark.parametrize("values", [(0, 1, 2), (1, 2), (0, 1, 2, 3)])
def test_a_list_of_names_begins_at_zero_otherwise(tmp_path: Path, values: tuple[int, ...]) -> None:
    named = {item.id: item.name for item in _listed(tmp_path, *values).classes}
    assert [named[id] for id in range(3)] == ["sky", "road", "car"]
    assert named.get(3, "class_3") == "class_3"
