"""Small trees of pictures and label maps as they are found in the world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = ((128, 64, 128), (70, 130, 180), (107, 142, 35), (220, 20, 60))
SIZE = (40, 60)
COUNT, TRAIN = 6, 4  # pictures, of which train

_VOC = np.zeros((256, 3), np.uint8)
_VOC[:4], _VOC[255] = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], (224, 224, 192)


def photo(seed: int = 0) -> Image.Image:
    """A picture of thousands of colours."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8))


def ids(classes: int = 4, void: int | None = None) -> np.ndarray:
    """Stripes of class ids, two rows of void above."""
    labels = (
        np.repeat(np.arange(SIZE[1]) * classes // SIZE[1], SIZE[0])
        .reshape(SIZE[1], SIZE[0])
        .T.astype(np.uint8)
    )
    if void is not None:
        labels[:2] = void
    return labels


def grey(classes: int = 4, void: int | None = None) -> Image.Image:
    """A label map of ids."""
    return Image.fromarray(ids(classes, void))


def colored(border: bool = False) -> Image.Image:
    """A label map of colours, with black lines between the classes or without."""
    pixels = np.array(COLORS, np.uint8)[ids()]
    if border:
        pixels[:, 14:17] = pixels[:, 44:46] = 0
    return Image.fromarray(pixels)


def voc() -> Image.Image:
    """A label map as Pascal VOC's: indices are ids, void is 255, the palette is VOC's."""
    image = Image.fromarray(ids(4, 255))
    image.putpalette(_VOC.tobytes())
    return image


def save(image: Image.Image, path: Path) -> None:
    """Writes a picture into a folder that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _split(number: int) -> str:
    return "train" if number < TRAIN else "val"


def images_and_labels(root: Path) -> None:
    """images/0.jpg, labels/0.png in colours, label_colors.txt as CamVid has it."""
    for number in range(COUNT):
        save(photo(number), root / f"images/{number}.jpg")
        save(colored(border=True), root / f"labels/{number}.png")
    text = (
        "128 64 128\troad\n70 130 180\tsky\n107 142 35\tvegetation\n220 20 60\tperson\n0 0"
        " 0\tVoid\n"
    )
    (root / "label_colors.txt").write_text(text)


def one_folder(root: Path) -> None:
    """0.jpg beside 0_mask.png of 0 and 255."""
    for number in range(COUNT):
        save(photo(number), root / f"{number}.jpg")
        save(Image.fromarray(ids(2) * np.uint8(255)), root / f"{number}_mask.png")


def camvid(root: Path) -> None:
    """train/0.png, trainannot/0.png, all of one format."""
    for number in range(COUNT):
        save(photo(number), root / f"{_split(number)}/{number}.png")
        save(grey(), root / f"{_split(number)}annot/{number}.png")


def cityscapes(root: Path) -> None:
    """leftImg8bit/ and gtFine/, the latter with three pictures for each."""
    for number in range(COUNT):
        place = f"{_split(number)}/aachen/aachen_00000{number}_000019"
        save(photo(number), root / f"leftImg8bit/{place}_leftImg8bit.png")
        for kind, labels in (
            ("labelIds", grey(4, 255)),
            ("instanceIds", grey()),
            ("color", colored()),
        ):
            save(labels, root / f"gtFine/{place}_gtFine_{kind}.png")


def splits_outside(root: Path) -> None:
    """train/images/0.jpg, train/masks/0.png; names of files come again in val."""
    for number in range(COUNT):
        save(photo(number), root / f"{_split(number)}/images/{number % TRAIN}.jpg")
        save(grey(3, 255), root / f"{_split(number)}/masks/{number % TRAIN}.png")
    (root / "train/_classes.csv").write_text(
        "Pixel Value, Class\n0, background\n1, tall_crop\n2, weed\n"
    )


def splits_inside(root: Path) -> None:
    """img/train/0.jpg, mask/train/0.png."""
    for number in range(COUNT):
        save(photo(number), root / f"img/{_split(number)}/{number}.jpg")
        save(grey(), root / f"mask/{_split(number)}/{number}.png")
    (root / "classes.txt").write_text("__ignore__\n_background_\nroad\nzebra crossing\ncar\nbus\n")


def pascal_voc(root: Path) -> None:
    """VOC/JPEGImages, SegmentationClass, SegmentationObject and lists of the splits."""
    for number in range(COUNT):
        save(photo(number), root / f"VOC/JPEGImages/2007_{number}.jpg")
        for kind in ("SegmentationClass", "SegmentationObject"):
            save(voc(), root / f"VOC/{kind}/2007_{number}.png")
    lists = root / "VOC/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for split, numbers in (
        ("train", range(TRAIN)),
        ("val", range(TRAIN, COUNT)),
        ("trainval", range(COUNT)),
    ):
        (lists / f"{split}.txt").write_text("".join(f"2007_{number}\n" for number in numbers))
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nboat:128,0,0::\nsea:0,128,0::\nshore:128,128,0::\n"  # noqa: E501
    (root / "VOC/labelmap.txt").write_text(text)


def prefixes(root: Path) -> None:
    """data/img_000.jpg beside data/mask_000.png."""
    for number in range(COUNT):
        save(photo(number), root / f"data/img_{number:03}.jpg")
        save(grey(), root / f"data/mask_{number:03}.png")


def flat_labels(root: Path) -> None:
    """images/a/0.jpg and images/b/3.jpg, all label maps in labels/."""
    for number in range(COUNT):
        save(photo(number), root / f"images/{'ab'[number % 2]}/{number}.jpg")
        save(grey(), root / f"labels/{number}.png")


def mapillary(root: Path) -> None:
    """training/images/0.jpg, training/v2.0/labels/0.png."""
    for number in range(COUNT):
        folder = root / {"train": "training", "val": "validation"}[_split(number)]
        save(photo(number), folder / f"images/{number}.jpg")
        save(grey(), folder / f"v2.0/labels/{number}.png")
        save(voc(), folder / f"v2.0/instances/{number}.png")


TREES: dict[str, Callable[[Path], None]] = {
    item.__name__: item
    for item in (
        images_and_labels,
        one_folder,
        camvid,
        cityscapes,
        splits_outside,
        splits_inside,
        pascal_voc,
        prefixes,
        flat_labels,
        mapillary,
    )
}
