"""``clipmask-data check``: reads all pairs, prints what is wrong, and writes a report with
pictures.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from clipmask.cli.data.pictures import draw_frequencies, read_sample, truth_over
from clipmask.cli.tables import format_table
from clipmask.cli.written import OwnResults
from clipmask.curation.checking.counts import (
    Checked,
    Frequencies,
    frequencies,
    picture_sizes,
    samples_of_all_classes,
)
from clipmask.curation.checking.finding import Finding
from clipmask.curation.checking.findings import find_all
from clipmask.curation.checking.pair import Reading, read_pair
from clipmask.curation.checking.pool import map_robustly
from clipmask.curation.checking.subject import Subject
from clipmask.data.cores import usable_cores
from clipmask.errors import UserError

REPORT, CHART = "report.json", "classes.png"  # in the output folder
_ROWS = 10  # of a finding that are printed; the report has all


def check(subject: Subject, output: str | None, workers: int | None, *, force: bool = False) -> int:
    """Checks a dataset.

    Args:
        subject: the dataset.
        output: folder for report and pictures; None: the dataset's name with ``_check``.
        workers: processes; 0: none but this; None: one for each core.
        force: write over files that ClipMask did not write itself.

    Returns:
        1 if there is something that would stop a training, else 0.

    Raises:
        UserError: the folder can't be used, or holds a file of a result's name that ClipMask did
            not write; ``workers`` is negative.
    """
    if workers is not None and workers < 0:
        raise UserError(f"--workers {workers}: it is 0 (read in this process) or more")
    folder = output_folder(output or f"{subject.name}_check", subject)
    own = OwnResults(folder, force)
    own.refuse_others([folder / REPORT, folder / CHART])  # before all is read
    checked = _read_all(
        subject, min(usable_cores() if workers is None else workers, len(subject.pairs))
    )
    findings, tables = find_all(subject, checked), frequencies(subject, checked)
    _print_overview(subject, checked, tables)
    for finding in findings:
        print(
            f"\n{'STOPS TRAINING' if finding.stops else 'note'}: {finding.title}"
            f" ({len(finding.rows)})"
        )
        print(f"  {finding.advice}\n")
        print(format_table(finding.columns, finding.rows, _ROWS))
    with own:
        written = _write(folder, own, subject, checked, findings, tables)
    stops = [finding for finding in findings if finding.stops]
    verdict = _verdict(len(findings), len(stops))
    print(f"\n{verdict}; {written} -> {folder}")
    return 1 if stops else 0


def output_folder(name: str, subject: Subject) -> Path:
    """Makes the folder for results; a ``UserError`` where it would lie among the dataset's own
    pictures.
    """
    folder, files = Path(name), subject.files
    made = folder / "samples" / "0.png"
    if files is not None and (files.takes(made) or files.takes_label(made)):
        raise UserError(
            f"--output {folder}: lies among the dataset's files, and what is written would count as"
            " its pictures or label maps; name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: can't be made ({error})") from error
    return folder


def _read_all(subject: Subject, workers: int) -> Checked:
    """Reads all pairs under a progress bar on stderr; a redirected one is a line for each update,
    so these are few.
    """
    readings: list[Reading | None] = [None] * len(subject.pairs)
    interval = 0.1 if sys.stderr.isatty() else 30.0
    task = functools.partial(read_pair, format=subject.format, image_format=subject.image_format)
    with tqdm(total=len(readings), unit=" images", desc="reading", mininterval=interval) as bar:
        for position, reading in map_robustly(task, subject.pairs, workers):
            readings[position] = reading
            bar.update()
    return list(zip(subject.pairs, readings, strict=True))


def _print_overview(subject: Subject, checked: Checked, tables: Mapping[str, Frequencies]) -> None:
    sizes = picture_sizes(subject, checked)
    rows = [
        (split, _pairs_of(subject, split), _range(sizes[split]), _void(tables[split]))
        for split in subject.splits
    ]
    print(
        f"{subject.name}: {len(subject.pairs)} labelled pictures, {len(subject.classes)} classes\n"
    )
    print(format_table(("split", "pictures", "sizes", "void %"), rows))
    columns = ["class"]
    for split in subject.splits:
        columns += [f"{split} pixels %", f"{split} images"]
    class_rows: list[list[Any]] = [[name] for name in subject.class_names]
    for table in tables.values():
        for place, row in enumerate(class_rows):
            row += [table.shares[place], table.images[place]]
    print()
    print(format_table(columns, class_rows))


def _range(sizes: Mapping[tuple[int, int], int]) -> str:
    """Says how large pictures are: one size, or from the smallest area to the largest."""
    if not sizes:
        return "-"
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    least, most = (f"{width}x{height}" for width, height in (ordered[0], ordered[-1]))
    return least if len(ordered) == 1 else f"{least} to {most} ({len(ordered)} different)"


def _void(table: Frequencies) -> float:
    return 100 * table.void / max(1, table.void + sum(table.pixels))


def _write(
    folder: Path,
    own: OwnResults,
    subject: Subject,
    checked: Checked,
    findings: list[Finding],
    tables: Mapping[str, Frequencies],
) -> str:
    """Writes report, chart and samples; returns their names for the closing line."""
    samples = [
        (folder / "samples" / f"{split}_{number:02}_{Path(pair.image).stem}.png", pair)
        for split, pairs in samples_of_all_classes(subject, checked).items()
        for number, pair in enumerate(pairs, 1)
    ]
    own.refuse_others(place for place, _ in samples)
    try:
        report = json.dumps(
            _report(subject, checked, findings, tables), indent=1, ensure_ascii=False
        )
        (folder / REPORT).write_text(report + "\n", encoding="utf-8")
        own.add(folder / REPORT)
        written = [REPORT]
        if any(table.images_read for table in tables.values()):
            draw_frequencies(tables, subject, folder / CHART)
            own.add(folder / CHART)
            written.append(CHART)
        for place, pair in samples:
            place.parent.mkdir(exist_ok=True)
            sample = read_sample(pair, subject.format, subject.image_format)
            Image.fromarray(truth_over(sample, subject)).save(place)
            own.add(place)
    except OSError as error:
        raise UserError(f"--output {folder}: can't be written to ({error})") from error
    if samples:
        written.append(f"{len(samples)} labelled pictures in samples/")
    return ", ".join(written)


def _report(
    subject: Subject, checked: Checked, findings: list[Finding], tables: Mapping[str, Frequencies]
) -> dict[str, Any]:
    sizes = picture_sizes(subject, checked)
    return {
        "dataset": subject.name,
        "classes": list(subject.classes),
        "stops_training": any(finding.stops for finding in findings),
        "findings": [finding.as_dict() for finding in findings],
        "splits": {
            split: {
                "pictures": _pairs_of(subject, split),
                "sizes": {f"{size[0]}x{size[1]}": n for size, n in sizes[split].most_common()},
                "void_pixels": table.void,
                "classes": _class_report(subject.class_names, table),
            }
            for split, table in tables.items()
        },
    }


def _class_report(names: Sequence[str], table: Frequencies) -> list[dict[str, Any]]:
    columns = zip(names, table.pixels, table.shares, table.images, strict=True)
    keys = ("name", "pixels", "share", "images")
    return [dict(zip(keys, values, strict=True)) for values in columns]


def _pairs_of(subject: Subject, split: str) -> int:
    """Returns how many labelled pictures a split has."""
    return sum(split in pair.splits for pair in subject.pairs)


def _verdict(findings: int, stops: int) -> str:
    """Says how much was found and what of it stops training."""
    if not findings:
        return "all is well"
    if findings == 1:
        return f"1 kind of finding, which {'stops' if stops else 'does not stop'} training"
    return (
        f"{findings} kinds of findings, {stops or 'none'} of them stop{'s' if stops == 1 else ''}"
        " training"
    )
