"""Writes the results of ``clipmask_tools.formats`` as a Markdown table and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipmask_tools.ablation.tables import table
from clipmask_tools.benchmarking.formats import EAGER
from clipmask_tools.benchmarking.report import OTHERS, OWN, new_figure, save_figure


def merged(earlier: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Merges the results of two runs on the same pictures and the same machine.

    Where the machine, the dataset or the pictures differ, only the later results are returned.

    Args:
        earlier: results of the earlier run; empty where there was none.
        found: results of the later run; they replace the earlier ones of the same format.
    """
    for key in ("machine", "dataset", "pictures"):
        if earlier.get(key) != found[key]:
            return dict(found)
    by_size = {tuple(entry["size"]): dict(entry) for entry in earlier["times"]}
    for entry in found["times"]:
        known = by_size.get(tuple(entry["size"]), {"seconds": {}, "speed": {}})
        by_size[tuple(entry["size"])] = {
            "size": list(entry["size"]),
            "seconds": {**known["seconds"], **entry["seconds"]},
            "speed": {**known["speed"], **entry["speed"]},
        }
    formats = {**earlier["formats"], **found["formats"]}
    return {**found, "formats": formats, "times": [by_size[size] for size in sorted(by_size)]}


def format_table(found: Mapping[str, Any]) -> str:
    """Returns the results as Markdown; it has no columns for times that were not measured."""
    machine, times = found["machine"], found["times"]
    packages = [f"{name} {value}" for name, value in machine.items() if name not in _OWN_KEYS]
    conditions = f"{machine['device']}, {machine['threads']} thread(s), {', '.join(packages)}"
    head = ["", "pixels with PyTorch's class, %", "largest difference of a score", "mIoU"]
    sizes = [f"{entry['size'][1]}x{entry['size'][0]}" for entry in times]
    head += [f"times as fast as PyTorch, {size}" for size in sizes]
    head += ["MB", "any size", "any names"]
    rows = [_row(name, row, times) for name, row in found["formats"].items()]
    eager = [
        f"{1000 * entry['seconds'][EAGER][0]:.0f} ms at {size}"
        for entry, size in zip(times, sizes, strict=True)
    ]
    eager_times = f" PyTorch takes {' and '.join(eager)}." if eager else ""
    clock = "processor time" if machine["threads"] == 1 else "wall time"
    return (
        f"{conditions}; {found['pictures']} pictures of {found['dataset']}. Times: medians of"
        f" {clock} in {found['rounds']} rounds, with the least and the most.{eager_times}"
        f"\n\n{table(head, rows)}\n"
    )


_OWN_KEYS = ("device", "threads")


def _row(name: str, row: Mapping[str, Any], times: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [name, f"{100 * row['labels']:.3f}", f"{row['difference']:.1e}"]
    cells.append(f"{row['mean_iou']:.2f}")
    for entry in times:
        share = entry["speed"].get(name)
        cells.append("" if share is None else "{:.2f} [{:.2f}-{:.2f}]".format(*share))
    size = row.get("bytes")
    cells.append("" if size is None else f"{size / 1e6:.1f}")
    return cells + ["yes" if row[key] else "no" for key in ("any_size", "any_names")]


def draw_formats(found: Mapping[str, Any], path: Path) -> None:
    """Draws bars that show how many times as fast as PyTorch each format is, per picture size."""
    times = found["times"]
    most = max((len(entry["speed"]) for entry in times), default=0)
    if not most:
        return
    figure = new_figure(9.5, 1.0 + 0.26 * most)
    for axes, entry in zip(figure.subplots(1, len(times), squeeze=False)[0], times, strict=True):
        height, width = entry["size"]
        names = list(entry["speed"])
        speeds = list(entry["speed"].values())
        places = range(len(names))
        axes.barh(places, [speed[0] for speed in speeds], color=OTHERS, height=0.7)
        axes.axvline(1, color=OWN, linewidth=1)
        axes.set_yticks(places, names, fontsize=8)
        axes.invert_yaxis()
        axes.set_title(f"times as fast as PyTorch, {width}x{height}", fontsize=9, loc="left")
        for place, speed in zip(places, speeds, strict=True):
            axes.text(speed[0], place, f" {speed[0]:.2f}", va="center", fontsize=8)
        axes.set_xlim(0, max(speed[0] for speed in speeds) * 1.15)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", labelsize=7)
    save_figure(figure, path)
