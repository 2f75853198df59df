"""Trains a grid of configs and seeds, and writes the compared results into docs/results.md.

python -m clipmask_tools.ablate run GRID.yaml --jobs 4   trains runs without a result, four at a
                                                         time
python -m clipmask_tools.ablate table GRID.yaml          prints tables of the results
python -m clipmask_tools.ablate page                     writes tables and plots into
                                                         docs/results.md
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from clipmask.cli import run_main
from clipmask.cli.arguments import HelpFormatter
from clipmask.cli.register import register_file
from clipmask.errors import UserError
from clipmask_tools.ablation.folds import fold_class_table, fold_table
from clipmask_tools.ablation.grid import read_grid
from clipmask_tools.ablation.jobs import check_jobs, make_jobs, slots
from clipmask_tools.ablation.page import Page
from clipmask_tools.ablation.results import read_results
from clipmask_tools.ablation.runner import run_jobs, unfinished
from clipmask_tools.ablation.tables import class_table, provenance, score_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
RESULTS = ROOT / "docs" / "results"
EXAMPLES = """\
examples:
  %(prog)s run configs/ablations/grid.yaml
  %(prog)s run configs/ablations/grid.yaml --runs full,no_text --seeds 0,1,2 --jobs 2 MODEL.BACKBONE.WEIGHTS my.pth
  %(prog)s table configs/ablations/grid.yaml
  %(prog)s page --check

The same command continues an interrupted grid: runs with a result file are skipped, and an interrupted run continues
from its last checkpoint. If a run fails, it is reported, and the others continue.
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Train a grid of configs and seeds, and compare the results.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "command",
        choices=("run", "table", "page"),
        help=(
            "run: train the runs without a result; table: print the tables of a grid; page: write"
            " the tables and plots that docs/results.md names into it"
        ),
    )
    parser.add_argument(
        "grid",
        nargs="?",
        metavar="GRID.yaml",
        help="configs and seeds, see configs/ablations/grid.yaml",
    )
    parser.add_argument(
        "--runs", type=_names, metavar="A,B", help="some runs of the grid; default: all"
    )
    parser.add_argument(
        "--seeds", type=_numbers, metavar="0,1", help="seeds that replace those of the grid"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help="number of parallel runs, each on its own GPU or CPU core; default: one per device",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("output"), help="the folder of the runs' folders"
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the folder of the result files"
    )
    parser.add_argument(
        "--check", action="store_true", help="page: only check whether it is up to date"
    )
    parser.add_argument(
        "opts", nargs="*", default=[], metavar="KEY VALUE", help="run: config values for every run"
    )
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in _names(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be whole numbers separated by commas, such as 0,1,2"
        ) from error


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    args = parser.parse_intermixed_args(argv)
    if args.command != "page" and args.grid is None:
        parser.error(f"{args.command}: name a grid, such as configs/ablations/grid.yaml")
    if args.command != "run" and args.opts:
        parser.error(f"{args.command}: takes no {' '.join(args.opts)}")
    return {"run": _train, "table": _print, "page": _write}[args.command](args)


def _train(args: argparse.Namespace) -> int:
    # SIGTERM has the same effect as Ctrl-C, so that the runs end with this command
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    grid = read_grid(args.grid)
    chosen = grid.choose(args.runs, args.seeds)
    for path in grid.register:
        register_file(path)
    jobs = make_jobs(grid, chosen, args.opts, args.output, args.results)
    left = unfinished(jobs)
    check_jobs(left)
    devices = slots(jobs[0].cfg.MODEL.DEVICE, args.jobs)
    at_once = min(len(devices), len(left))
    print(
        f"{len(jobs)} runs, {len(jobs) - len(left)} of them done before; {at_once} at once",
        flush=True,
    )
    failed = run_jobs(left, devices)
    print(f"results: {args.results / grid.name}")
    if failed:
        print(
            f"failed: {', '.join(job.name for job in failed)}; repeat the command to retry them",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _print(args: argparse.Namespace) -> int:
    grid = read_grid(args.grid)
    results = read_results(args.results, grid)
    if not results:
        raise UserError(
            f"{args.results / grid.name}: no results yet; run clipmask_tools.ablate run {args.grid}"
        )
    tables = (fold_table, fold_class_table) if grid.folds else (score_table, class_table)
    print("\n\n".join(make(grid, results) for make in (*tables, provenance)))
    return 0


def _write(args: argparse.Namespace) -> int:
    page = Page(PAGE, ROOT, args.results)
    text = page.text()
    if args.check:
        if PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(
            f"{PAGE} differs from the result files; run python -m clipmask_tools.ablate page",
            file=sys.stderr,
        )
        return 1
    PAGE.write_text(text, encoding="utf-8")
    for path in (PAGE, *page.draw()):
        print(path)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; ``argv`` None takes ``sys.argv``."""
    return run_main(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
