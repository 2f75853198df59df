"""Public datasets whose label maps tell which they are: the names of their ids."""

from __future__ import annotations

from pathlib import Path

from clipmask.curation.guessing.naming import Named, NameFile
from clipmask.curation.guessing.pairing import Pairing
from clipmask.curation.guessing.pixels import LabelPixels
from clipmask.data.datasets.cityscapes import CLASSES as CITYSCAPES
from clipmask.data.label_format import RGB

VOC = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "dining table",
    "dog",
    "horse",
    "motorbike",
    "person",
    "potted plant",
    "sheep",
    "sofa",
    "train",
    "tv monitor",
)
_CITYSCAPES_IDS = (*range(-1, 34), 255)  # official label ids, and what custom adds


def known_names(pixels: LabelPixels, pairing: Pairing) -> NameFile | None:
    """Returns the names of a dataset that is recognised; None for others.

    Cityscapes is known by how its files of ids are called, KITTI, which has Cityscapes' ids, by its
    folders, and Pascal VOC by its palette.

    Args:
        pixels: what label maps hold.
        pairing: how they are called.
    """
    is_kitti = (pairing.images.name, pairing.labels.name) == ("image_2", "semantic")
    if is_kitti or pairing.label_suffix.endswith("_gtFine_labelIds.png"):
        names = [Named(name, item.label_id) for name, item in CITYSCAPES.items()]
        void = [
            Named("void", id)
            for id in _CITYSCAPES_IDS
            if id not in {item.label_id for item in CITYSCAPES.values()}
        ]
        return NameFile(Path("the official ids of Cityscapes"), (*names, *void))
    ids = {id for id in pixels.ids if id != 255}
    if (
        pixels.modes.keys() == {"P"}
        and len(ids) > 1
        and max(ids) < len(VOC)
        and _has_voc_palette(pixels)
    ):
        names = [Named(name, id) for id, name in enumerate(VOC)]
        return NameFile(Path("the palette of Pascal VOC"), tuple(names))
    return None


def _has_voc_palette(pixels: LabelPixels) -> bool:
    return all(colors == {voc_color(id)} for id, colors in pixels.id_colors.items() if id != 255)


def voc_color(number: int) -> RGB:
    """Returns a colour of Pascal VOC's map: an id's bits, three at a time, are the highest of red,
    green and blue.
    """
    levels = [
        sum((number >> 3 * bit + channel & 1) << 7 - bit for bit in range(3))
        for channel in range(3)
    ]
    return levels[0], levels[1], levels[2]
