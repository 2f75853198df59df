"""The benchmark's figures as Markdown tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipmask_tools.ablation.tables import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLES = {"train": "training step, batch 2", "infer": "inference to label maps, batch 1"}
OWN, OTHERS = "#c0392b", "#5d7a99"


def tables(found: Mapping[str, Any]) -> str:
    """Writes everything that was measured as Markdown; sections that were not asked for are left
    out.
    """
    blocks = [_machine(found["machine"])]
    for entry in found.get("peers", []):
        blocks += [f"#### {_TITLES[entry['mode']]}, {_setting(entry)}", _peers(entry)]
    if "parts" in found:
        blocks += ["#### ClipMask's own time by part", _parts(found["parts"])]
    if "text" in found:
        ratio = found["text"]["ratio"]
        blocks.append(
            "Text injection and pairwise fusion against the same network without,"
            f" {_setting(found['text'])}: {_range(ratio, 3)} of its time."
        )
    if "large" in found:
        blocks += ["#### One picture of 4096x2048, ResNet-50, 19 classes", _large(found["large"])]
    if "growth" in found:
        blocks += ["#### Growth", _growth(found["growth"])]
    if "loading" in found:
        blocks += ["#### Data loading, one worker", _loading(found["loading"])]
    return "\n\n".join(blocks) + "\n"


def _machine(machine: Mapping[str, Any]) -> str:
    libraries = ("torch", "transformers", "segmentation_models_pytorch")
    told = [
        machine["device"],
        f"{machine['threads']} threads",
        machine["precision"],
        f"{machine['rounds']} rounds",
    ]
    told += [f"{library} {machine[library]}" for library in libraries]
    return ", ".join(told) + (
        "; the C library keeps freed memory while times are taken."
        if machine["memory_kept"]
        else "."
    )


def _setting(entry: Mapping[str, Any]) -> str:
    height, width = entry["size"]
    return f"{height}x{width}, {entry['num_classes']} classes"


def _range(value: Sequence[float], digits: int = 2) -> str:
    median, low, high = value
    return f"{median:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


def _peers(entry: Mapping[str, Any]) -> str:
    rows = []
    for name, row in entry["networks"].items():
        ratio, share = row.get("ratio"), row.get("memory_ratio")
        rows.append(
            [
                f"**{name}**" if name == "ClipMask" else name,
                _range(row["seconds"]),
                "" if ratio is None else _range(ratio),
                f"{row['memory']['above']:.0f}",
                "" if share is None else f"{share:.2f}",
                f"{row['parameters'] / 1e6:.1f}",
                f"{row['flops'] / 2e9:.1f}",
            ]
        )
    head = [
        "",
        "seconds",
        "ClipMask's share of its time",
        "+MiB",
        "ClipMask's share of its +MiB",
        "M parameters",
        "GMACs",
    ]
    return table(head, rows)


def _parts(parts: Mapping[str, Any]) -> str:
    blocks = []
    for mode, entry in parts.items():
        total = sum(
            value[0] for part, value in entry["seconds"].items() if not part.startswith("(")
        )
        rows = [
            [part, _range(value, 3), f"{100 * value[0] / total:.1f} %"]
            for part, value in entry["seconds"].items()
        ]
        what = f"{_TITLES[mode]}, {_setting(entry)}"
        blocks.append(
            table(
                [what, "seconds" + (", forward + backward" if mode == "train" else ""), "share"],
                rows,
            )
        )
    return "\n\n".join(blocks)


def _large(large: Mapping[str, Any]) -> str:
    rows = [
        [way, f"{row['seconds']:.1f}", f"{row['peak'] / 1024:.2f}", f"{row['above'] / 1024:.2f}"]
        for way, row in large.items()
    ]
    return table(["", "seconds", "peak GiB of the process", "of it above the built model"], rows)


def _growth(growth: Sequence[Mapping[str, Any]]) -> str:
    modes = {"train": "training step", "infer": "inference"}
    rows = [
        [
            (
                f"{curve['title']} {curve['values'][0]:,} to {curve['values'][-1]:,},"
                f" {modes[curve['mode']]}"
            ),
            f"x {curve['values'][-1] / curve['values'][0]:.1f}",
            f"x {curve['seconds'][-1] / curve['seconds'][0]:.2f}",
            f"x {curve['megabytes'][-1] / curve['megabytes'][0]:.2f}",
        ]
        for curve in growth
    ]
    return table(["", "it grows", "time", "memory above the built model"], rows)


def _loading(loading: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for case in loading:
        for what in ("train", "test"):
            parts = {
                name: f"{value:.1f}"
                for name, value in case[what].items()
                if name != "images_per_second"
            }
            size = (
                f"{case['width']}x{case['height']} {case['format']},"
                f" {case['file_kilobytes']:.0f} kB"
            )
            crop = f", crops of {case['crop'][1]}x{case['crop'][0]}" if what == "train" else ""
            row = [size, f"{what}{crop}", f"{case[what]['images_per_second']:.1f}"]
            rows.append([*row, *(parts.get(name, "") for name in ("decode", "labels", "augment"))])
    return table(["", "", "pictures/s", "ms decoding", "ms labels", "ms augmenting"], rows)


def draw_peers(found: Mapping[str, Any], path: Path) -> None:
    """Draws time and memory of all networks beside each other, one row a setting."""
    entries = found["peers"]
    figure = new_figure(9.5, 0.5 + 2.3 * len(entries))
    grid = figure.subplots(len(entries), 2, squeeze=False)
    for (left, right), entry in zip(grid, entries, strict=True):
        names = list(entry["networks"])
        title = f"{_TITLES[entry['mode']]}, {_setting(entry)}"
        _bars(left, names, [entry["networks"][n]["seconds"][0] for n in names], f"seconds: {title}")
        _bars(
            right,
            names,
            [entry["networks"][n]["memory"]["above"] for n in names],
            "MiB above the built model",
        )
    save_figure(figure, path)


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], title: str) -> None:
    places = range(len(names))
    axes.barh(
        places,
        values,
        color=[OWN if name == "ClipMask" else OTHERS for name in names],
        height=0.7,
    )
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9, loc="left")
    for place, value in zip(places, values, strict=True):
        axes.text(
            value,
            place,
            f" {value:.2f}" if value < 100 else f" {value:.0f}",
            va="center",
            fontsize=8,
        )
    axes.set_xlim(0, max(values) * 1.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=7)


def draw_growth(found: Mapping[str, Any], path: Path) -> None:
    """Draws all curves of growth, time and memory, relative to their first point, with the line of
    linear growth.
    """
    figure = new_figure(9.5, 4)
    for axes, what, title in zip(
        figure.subplots(1, 2),
        ("seconds", "megabytes"),
        ("time", "memory above the built model"),
        strict=True,
    ):
        most = max(curve["values"][-1] / curve["values"][0] for curve in found["growth"])
        axes.plot([1, most], [1, most], color="0.7", linestyle="--", linewidth=1, label="linear")
        for curve in found["growth"]:
            factors = [value / curve["values"][0] for value in curve["values"]]
            costs = [value / curve[what][0] for value in curve[what]]
            label = (
                f"{curve['title']} ({curve['values'][0]:,} to {curve['values'][-1]:,}),"
                f" {curve['mode']}"
            )
            style = "-" if curve["mode"] == "infer" else ":"
            axes.plot(
                factors,
                costs,
                marker="o",
                markersize=3.5,
                linewidth=1.4,
                linestyle=style,
                label=label,
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlabel("the quantity grows by", fontsize=8)
        axes.set_ylabel("the cost grows by", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(fontsize=7, frameon=False)
    save_figure(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure of width x height inches that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG; its folder is made."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
