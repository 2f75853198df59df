"""Pictures of a dataset: images with their labels, contact sheets, and a chart of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clipmask.curation.checking.counts import Frequencies
from clipmask.curation.checking.pair import Pair
from clipmask.curation.checking.subject import Subject
from clipmask.data.image_format import PLAIN, ImageFormat, shown
from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import read_image, read_labels
from clipmask.fonts import chart_letters
from clipmask.visualizer import overlay, palette
from clipmask.visualizer.lettering import load_font

_GAP = 6  # pixels between pictures
_NOTHING = -1  # the label of pixels that are not painted
_PAPER = (24, 24, 28)
_CELL = 320  # pixels of a picture's longer side on a sheet
_COLUMNS = 4  # pictures in a row of a sheet


class Sample(NamedTuple):
    """A picture (H, W, 3) and its label map (H, W), in which void is -1."""

    image: NDArray[np.uint8]
    labels: NDArray[np.int64]
    caption: str


def read_sample(pair: Pair, format: LabelFormat, image_format: ImageFormat = PLAIN) -> Sample:
    """Reads a pair for drawing.

    Raises:
        UserError: as for ``read_image`` and ``read_labels``.
    """
    image = shown(read_image(pair.image, image_format=image_format))
    labels = read_labels(pair.labels, format, image.shape[:2])
    void = (labels < 0) | (labels >= format.num_classes)
    return Sample(image, np.where(void, _NOTHING, labels.astype(np.int64)), Path(pair.image).stem)


def class_colors(subject: Subject) -> list[list[int]]:
    """Returns the dataset's colours, or those of a fixed palette if it has none."""
    return subject.colors or palette(subject.class_names)


def truth_over(sample: Sample, subject: Subject) -> NDArray[np.uint8]:
    """Draws the labels over the picture, with a legend below."""
    return overlay(sample.image, sample.labels, subject.class_names, class_colors(subject))


def truth_beside(sample: Sample, subject: Subject) -> NDArray[np.uint8]:
    """Draws the picture beside the picture with its labels, and a legend below."""
    height, width = sample.labels.shape
    image = np.full((height, 2 * width + _GAP, 3), _PAPER, np.uint8)
    labels = np.full(image.shape[:2], _NOTHING, np.int64)
    image[:, :width] = sample.image
    image[:, -width:] = sample.image
    labels[:, -width:] = sample.labels
    return overlay(image, labels, subject.class_names, class_colors(subject))


def contact_sheet(samples: Sequence[Sample], subject: Subject) -> NDArray[np.uint8]:
    """Draws many small pictures with their labels and names, and one legend for all.

    Args:
        samples: one or more samples.
        subject: the dataset.
    """
    small = [_shrunk(sample) for sample in samples]
    columns = min(_COLUMNS, len(small))
    font = load_font(12, [sample.caption for sample in small])
    band = 18  # for the name above each picture
    high = max(sample.labels.shape[0] for sample in small)
    wide = max(sample.labels.shape[1] for sample in small)
    rows = -(-len(small) // columns)
    image = np.full(
        (rows * (high + band + _GAP) - _GAP, columns * (wide + _GAP) - _GAP, 3), _PAPER, np.uint8
    )
    labels = np.full(image.shape[:2], _NOTHING, np.int64)
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    for position, sample in enumerate(small):
        top, left = position // columns * (high + band + _GAP), position % columns * (wide + _GAP)
        inside = (
            slice(top + band, top + band + len(sample.labels)),
            slice(left, left + sample.labels.shape[1]),
        )
        canvas.paste(Image.fromarray(sample.image), (left, top + band))
        labels[inside] = sample.labels
        draw.text(
            (left + 2, top + 2), _fitting(sample.caption, font, wide - 4), (235, 235, 235), font
        )
    return overlay(np.asarray(canvas), labels, subject.class_names, class_colors(subject))


def _shrunk(sample: Sample) -> Sample:
    """Resizes a sample to the size of a cell of the sheet; a smaller one is not changed."""
    height, width = sample.labels.shape
    scale = min(1.0, _CELL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(sample.image).resize(size, Image.Resampling.BOX)
    labels = Image.fromarray(sample.labels.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    return Sample(np.asarray(image), np.asarray(labels).astype(np.int64), sample.caption)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shortens a name to the given width in pixels; its end, where file names differ, is kept."""
    if isinstance(font, ImageFont.ImageFont):
        text = text.encode("latin-1", "replace").decode("latin-1")
    shown = text
    while len(shown) > 4 and font.getbbox(shown)[2] > width:
        shown = "..." + shown.removeprefix("...")[1:]
    return shown


def draw_frequencies(tables: Mapping[str, Frequencies], subject: Subject, path: Path) -> None:
    """Draws two bars for each class and split: the share of the pixels and of the images.

    Args:
        tables: the class frequencies of each split.
        subject: the dataset.
        path: the PNG file.
    """
    with chart_letters(subject.class_names):
        _draw_frequencies(tables, subject, path)


def _draw_frequencies(tables: Mapping[str, Frequencies], subject: Subject, path: Path) -> None:
    # The object API does not change pyplot's global state and the backend of the user's program.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, colors = subject.class_names, np.array(class_colors(subject)) / 255
    largest = np.max([table.shares for table in tables.values()], axis=0)
    order = np.argsort(-largest, kind="stable")
    row = 0.24 * len(tables) + 0.12  # inches
    figure = Figure(
        figsize=(11, min(160.0, max(2.4, row * len(names) + 1.5))), dpi=110, layout="constrained"
    )
    canvas = FigureCanvasAgg(figure)
    thick = 0.84 / len(tables)
    for axes, what in zip(figure.subplots(1, 2, sharey=True), ("pixels", "images"), strict=True):
        for number, (split, table) in enumerate(tables.items()):
            shares = np.array(table.shares)
            if what == "images":
                shares = 100 * np.array(table.images) / max(1, table.images_read)
            heights = shares[order]
            places = np.arange(len(names)) + (number - (len(tables) - 1) / 2) * thick
            axes.barh(
                places,
                heights,
                0.92 * thick,
                color=colors[order],
                edgecolor="0.25",
                linewidth=0.6,
                hatch=("", "///", "...", "xxx")[number % 4],
            )
            for place, height in zip(places, heights, strict=True):
                label = f" {height:.2f}  {split}" if what == "pixels" else f" {height:.0f}  {split}"
                axes.text(
                    height, place, label, va="center", fontsize=7, color="0.2", parse_math=False
                )
        axes.set_xlabel(f"% of the {what}")
        if what == "images":
            axes.set_xticks(range(0, 101, 20))
        axes.set_xlim(0, 1.22 * max(1.0, *(patch.get_width() for patch in axes.patches)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_yticks(
            range(len(names)), [names[place] for place in order], fontsize=9, parse_math=False
        )
        axes.set_ylim(len(names) - 0.4, -0.6)
    canvas.print_png(path)
