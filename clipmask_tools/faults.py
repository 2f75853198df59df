"""Breaks runs in more than a hundred ways, and prints the effect of each fault.

    python -m clipmask_tools.faults                     all faults, in temporary folders
    python -m clipmask_tools.faults --only kill full    faults whose names contain one of the words
    python -m clipmask_tools.faults --output docs/faults.md

The exit status is 1 if a fault caused an avoidable loss, or was not reported in one clear line.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clipmask_tools.faulting import files, inputs, stops, together, values
from clipmask_tools.faulting.bench import MODULES, Bench, Outcome
from clipmask_tools.faulting.stops import Fault

HEAD = """\
# Faults

This page is the output of `python -m clipmask_tools.faults`. Each fault is put into a training run or another command of its own, in a temporary folder. The model is the toy config's, made as small as possible, with a backbone that timm has for tests. The verdict is `good` if the fault caused no avoidable loss, and if one line, not a traceback, said what was wrong.

"""  # noqa: E501


def all_faults() -> list[Fault]:
    """Returns the name of each fault and its trial."""
    found: list[Fault] = []
    for module in (stops, files, inputs, together, values):
        found.extend(module.faults())
    return found


def table(rows: Sequence[tuple[str, Outcome]]) -> str:
    """Returns the outcomes of faults as a Markdown table."""
    lines = ["| fault | what happened | what was lost | verdict |", "|---|---|---|---|"]
    for name, outcome in rows:
        cells = (name, outcome.happened, outcome.lost, "good" if outcome.good else "BAD")
        escaped = [cell.replace("|", "&#124;").replace("\n", " ") for cell in cells]
        lines.append(f"| {' | '.join(escaped)} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0],
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="faults with one of these words"
    )
    parser.add_argument("--output", metavar="FILE.md", help="also write the table to this file")
    parser.add_argument("--list", action="store_true", help="only print the names")
    args = parser.parse_args(argv)
    chosen = all_faults()
    if args.only:
        chosen = [fault for fault in chosen if any(word in fault[0] for word in args.only)]
    if args.list:
        print("\n".join(name for name, _ in chosen))
        return 0
    for module in MODULES:
        importlib.import_module(module)
    rows = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for number, (name, trial) in enumerate(chosen):
            place = Path(folder) / f"{number:03d}"
            place.mkdir()
            outcome = trial(Bench(place))
            happened = outcome.happened.replace(f"{place}{os.sep}", "")  # for the page
            outcome = outcome._replace(happened=happened)
            rows.append((name, outcome))
            verdict = "good" if outcome.good else "BAD"
            print(
                f"{number + 1}/{len(chosen)}  {verdict}  {name}: {outcome.happened}; lost:"
                f" {outcome.lost}",
                flush=True,
            )
    text = table(rows)
    bad = sum(not outcome.good for _, outcome in rows)
    print(f"\n{text}\n{len(rows)} faults, {bad} bad")
    if args.output:
        Path(args.output).write_text(
            f"{HEAD}{text}\n{len(rows)} faults, {bad} bad.\n", encoding="utf-8"
        )
    return int(bad > 0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
