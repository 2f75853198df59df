"""Writes the benchmark's results as Markdown tables and charts."""

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
    """Returns the results as Markdown; it has no sections for parts that were not measured."""
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
    facts = [
        machine["device"],
        f"{machine['threads']} threads",
        machine["precision"],
        f"{machine['rounds']} rounds",
    ]
    facts += [f"{library} {machine[library]}" for library in libraries]
    text = ", ".join(facts)
    if machine["memory_kept"]:
        text += "; the C library keeps freed memory while times are taken"
    return text + "."


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
        seconds = entry["seconds"]
        # a part in parentheses belongs to the part before it
        total = sum(value[0] for part, value in seconds.items() if not part.startswith("("))
        rows = []
        for part, value in seconds.items():
            rows.append([part, _range(value, 3), f"{100 * value[0] / total:.1f} %"])
        title = f"{_TITLES[mode]}, {_setting(entry)}"
        unit = "seconds, forward + backward" if mode == "train" else "seconds"
        blocks.append(table([title, unit, "share"], rows))
    return "\n\n".join(blocks)


def _large(large: Mapping[str, Any]) -> str:
    rows = [
        [way, f"{row['seconds']:.1f}", f"{row['peak'] / 1024:.2f}", f"{row['above'] / 1024:.2f}"]
        for way, row in large.items()
    ]
    return table(["", "seconds", "peak GiB of the process", "of it above the built model"], rows)


def _growth(growth: Sequence[Mapping[str, Any]]) -> str:
    modes = {"train": "training step", "infer": "inference"}
    rows = []
    for curve in growth:
        values, seconds, megabytes = curve["values"], curve["seconds"], curve["megabytes"]
        rows.append(
            [
                f"{curve['title']} {values[0]:,} to {values[-1]:,}, {modes[curve['mode']]}",
                f"x {values[-1] / values[0]:.1f}",
                f"x {seconds[-1] / seconds[0]:.2f}",
                f"x {megabytes[-1] / megabytes[0]:.2f}",
            ]
        )
    return table(["", "it grows", "time", "memory above the built model"], rows)


def _loading(loading: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for case in loading:
        size = f"{case['width']}x{case['height']} {case['format']}"
        size += f", {case['file_kilobytes']:.0f} kB"
        for mode in ("train", "test"):
            times = case[mode]
            crop = f", crops of {case['crop'][1]}x{case['crop'][0]}" if mode == "train" else ""
            row = [size, f"{mode}{crop}", f"{times['images_per_second']:.1f}"]
            for part in ("decode", "labels", "augment"):
                row.append(f"{times[part]:.1f}" if part in times else "")
            rows.append(row)
    return table(["", "", "pictures/s", "ms decoding", "ms labels", "ms augmenting"], rows)


def draw_peers(found: Mapping[str, Any], path: Path) -> None:
    """Draws the time and the memory of all networks as bars, one row per setting."""
    entries = found["peers"]
    figure = new_figure(9.5, 0.5 + 2.3 * len(entries))
    grid = figure.subplots(len(entries), 2, squeeze=False)
    for (left, right), entry in zip(grid, entries, strict=True):
        names = list(entry["networks"])
        networks = entry["networks"].values()
        title = f"{_TITLES[entry['mode']]}, {_setting(entry)}"
        seconds = [network["seconds"][0] for network in networks]
        megabytes = [network["memory"]["above"] for network in networks]
        _bars(left, names, seconds, f"seconds: {title}")
        _bars(right, names, megabytes, "MiB above the built model")
    save_figure(figure, path)


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], title: str) -> None:
    places = range(len(names))
    colors = [OWN if name == "ClipMask" else OTHERS for name in names]
    axes.barh(places, values, color=colors, height=0.7)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(title, fontsize=9, loc="left")
    for place, value in zip(places, values, strict=True):
        digits = 2 if value < 100 else 0
        axes.text(value, place, f" {value:.{digits}f}", va="center", fontsize=8)
    axes.set_xlim(0, max(values) * 1.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=7)


def draw_growth(found: Mapping[str, Any], path: Path) -> None:
    """Draws the growth of time and memory relative to each curve's first point.

    A dashed line shows linear growth.
    """
    figure = new_figure(9.5, 4)
    quantities = (("seconds", "time"), ("megabytes", "memory above the built model"))
    for axes, (quantity, title) in zip(figure.subplots(1, 2), quantities, strict=True):
        most = max(curve["values"][-1] / curve["values"][0] for curve in found["growth"])
        axes.plot([1, most], [1, most], color="0.7", linestyle="--", linewidth=1, label="linear")
        for curve in found["growth"]:
            values = curve["values"]
            factors = [value / values[0] for value in values]
            costs = [value / curve[quantity][0] for value in curve[quantity]]
            label = f"{curve['title']} ({values[0]:,} to {values[-1]:,}), {curve['mode']}"
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
    """Creates a figure of ``width`` x ``height`` inches that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG, and creates its folder where it does not exist."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
