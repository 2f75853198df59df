"""Recognition of public datasets by their label maps, and the names of their ids."""

from __future__ import annotations

from pathlib import Path

from clipmask.curation.guessing.naming import Named, NameFile
from clipmask.curation.guessing.pairing import Pairing
from clipmask.curation.guessing.pixels import LabelPixels
from clipmask.data.datasets.cityscapes import CLASSES as CITYSCAPES
from clipmask.data.label_format import RGB
from clipmask.errors import UserError

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
_CITYSCAPES_IDS = (*range(-1, 34), 255)  # the official label ids, and the usual id of void


def known_names(pixels: LabelPixels, pairing: Pairing) -> NameFile | None:
    """Returns the class names of a public dataset that is recognised; None for other datasets.

    Cityscapes is recognised by its file names; KITTI, which has Cityscapes' ids, by its folders;
    and Pascal VOC by its palette together with its folder or with more than half of its classes,
    because many tools use the palette for other classes.

    Args:
        pixels: the values in the label maps.
        pairing: the names of the files and folders.

    Raises:
        UserError: the label maps are those of ADE20K's full release, which can't be read.
    """
    first = pairing.pairs[0][1].name
    if first.startswith("ADE_") and first.endswith("_seg.png"):
        raise UserError(
            f"{first}: the label maps of ADE20K's full release hold a class in red and green and an"
            " instance in blue, which is not read; use the label maps of the scene parsing"
            " benchmark, ADEChallengeData2016"
        )
    is_kitti = (pairing.images.name, pairing.labels.name) == ("image_2", "semantic")
    if is_kitti or pairing.label_suffix.endswith("_gtFine_labelIds.png"):
        names = [Named(name, item.label_id) for name, item in CITYSCAPES.items()]
        classes = {named.id for named in names}
        void = [Named("void", id) for id in _CITYSCAPES_IDS if id not in classes]
        return NameFile(Path("the official ids of Cityscapes"), (*names, *void))
    if pairing.label_suffix.endswith("_gtFine_labelTrainIds.png"):
        names = [Named(name, place) for place, name in enumerate(CITYSCAPES)]
        return NameFile(Path("the official train ids of Cityscapes"), tuple(names))
    if _is_voc(pixels, pairing):
        names = [Named(name, id) for id, name in enumerate(VOC)]
        return NameFile(Path("the palette of Pascal VOC"), tuple(names))
    return None


def _is_voc(pixels: LabelPixels, pairing: Pairing) -> bool:
    """Returns whether label maps are Pascal VOC's.

    Many tools use its palette for other classes, so VOC's folder and its void borders have to be
    there too, or most of its ids.
    """
    ids = {id for id in pixels.ids if id != 255}
    if pixels.modes.keys() != {"P"} or len(ids) < 2 or max(ids) >= len(VOC):
        return False
    in_its_folder = 255 in pixels.ids and pairing.labels.name.startswith("SegmentationClass")
    return (in_its_folder or 2 * len(ids) > len(VOC)) and _has_voc_palette(pixels)


def _has_voc_palette(pixels: LabelPixels) -> bool:
    return all(colors == {voc_color(id)} for id, colors in pixels.id_colors.items() if id != 255)


def voc_color(number: int) -> RGB:
    """Returns the colour of an id in Pascal VOC's palette.

    The lowest three bits of the id are the highest bits of red, green and blue; the next three bits
    are their second highest bits, and so on.
    """
    red = green = blue = 0
    for bit in range(3):
        red |= (number >> 3 * bit & 1) << 7 - bit
        green |= (number >> 3 * bit + 1 & 1) << 7 - bit
        blue |= (number >> 3 * bit + 2 & 1) << 7 - bit
    return red, green, blue
