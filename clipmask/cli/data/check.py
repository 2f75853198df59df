"""``clipmask-data check``: reads all pairs, prints the problems, and writes a report."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from clipmask.cli.data.pictures import draw_frequencies, read_sample, truth_over
from clipmask.cli.output import progress_bar
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
_ROWS = 10  # number of rows of a finding that are printed; the report has all rows


def check(subject: Subject, output: str | None, workers: int | None, *, force: bool = False) -> int:
    """Checks a dataset, prints the findings, and writes a report.

    Args:
        subject: the dataset.
        output: the folder for the report and pictures; None: the dataset's name with ``_check``.
        workers: the number of processes; 0: only this process; None: one for each core.
        force: True: replace files that ClipMask did not write.

    Returns:
        1 if a finding would stop training, else 0.

    Raises:
        UserError: the folder can't be used; a file in it has the name of a result, but ClipMask
            did not write it; ``workers`` is negative.
    """
    if workers is not None and workers < 0:
        raise UserError(f"--workers {workers}: must be 0 (read in this process) or more")
    folder = output_folder(output or f"{subject.name}_check", subject)
    own = OwnResults(folder, force)
    own.refuse_others([folder / REPORT, folder / CHART])  # before the long reading
    processes = usable_cores() if workers is None else workers
    checked = _read_all(subject, min(processes, len(subject.pairs)))
    findings, tables = find_all(subject, checked), frequencies(subject, checked)
    _print_overview(subject, checked, tables)
    for finding in findings:
        level = "STOPS TRAINING" if finding.stops else "note"
        print(f"\n{level}: {finding.title} ({len(finding.rows)})")
        print(f"  {finding.advice}\n")
        print(format_table(finding.columns, finding.rows, _ROWS))
    with own:
        written = _write(folder, own, subject, checked, findings, tables)
    stops = [finding for finding in findings if finding.stops]
    verdict = _verdict(len(findings), len(stops))
    print(f"\n{verdict}; {written} -> {folder}")
    return int(bool(stops))


def output_folder(name: str, subject: Subject) -> Path:
    """Creates the folder for results.

    Raises:
        UserError: it lies among the dataset's files, or it can't be created.
    """
    folder, files = Path(name), subject.files
    made = folder / "samples" / "0.png"
    if files is not None and (files.takes(made) or files.takes_label(made)):
        raise UserError(
            f"--output {folder}: lies among the dataset's files, so the results would count as its"
            " pictures or label maps; name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: can't be created ({error})") from error
    return folder


def _read_all(subject: Subject, workers: int) -> Checked:
    """Reads all pairs, with a progress bar on stderr."""
    readings: list[Reading | None] = [None] * len(subject.pairs)
    task = functools.partial(read_pair, format=subject.format, image_format=subject.image_format)
    with progress_bar(len(readings), "images", "reading") as bar:
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
    """Describes the sizes of pictures: one size, or the smallest and the largest area."""
    if not sizes:
        return "-"
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    least, most = (f"{width}x{height}" for width, height in (ordered[0], ordered[-1]))
    if len(ordered) == 1:
        return least
    return f"{least} to {most} ({len(ordered)} different)"


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
    """Writes the report, the chart and the samples; returns their names for the last line."""
    samples = []
    for split, pairs in samples_of_all_classes(subject, checked).items():
        for number, pair in enumerate(pairs, 1):
            name = f"{split}_{number:02}_{Path(pair.image).stem}.png"
            samples.append((folder / "samples" / name, pair))
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
    splits: dict[str, dict[str, Any]] = {}
    for split, table in tables.items():
        counts = sizes[split].most_common()
        splits[split] = {
            "pictures": _pairs_of(subject, split),
            "sizes": {f"{width}x{height}": count for (width, height), count in counts},
            "void_pixels": table.void,
            "classes": _class_report(subject.class_names, table),
        }
    return {
        "dataset": subject.name,
        "classes": list(subject.classes),
        "stops_training": any(finding.stops for finding in findings),
        "findings": [finding.as_dict() for finding in findings],
        "splits": splits,
    }


def _class_report(names: Sequence[str], table: Frequencies) -> list[dict[str, Any]]:
    columns = zip(names, table.pixels, table.shares, table.images, strict=True)
    keys = ("name", "pixels", "share", "images")
    return [dict(zip(keys, values, strict=True)) for values in columns]


def _pairs_of(subject: Subject, split: str) -> int:
    """Returns the number of labelled pictures in a split."""
    return sum(split in pair.splits for pair in subject.pairs)


def _verdict(findings: int, stops: int) -> str:
    """Returns the summary: the number of findings, and how many of them stop training."""
    if not findings:
        return "no problems found"
    if findings == 1:
        return f"1 kind of finding, which {'stops' if stops else 'does not stop'} training"
    verb = "stops" if stops == 1 else "stop"
    return f"{findings} kinds of findings, {stops or 'none'} of them {verb} training"
