"""``clipmask serve``: starts the web page and serves it until Ctrl-C."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clipmask.cli import HelpFormatter, run_main
from clipmask.cli.serve.page import build_page, load_gradio
from clipmask.cli.serve.service import Limits, Service
from clipmask.errors import UserError
from clipmask.inference import Predictor
from clipmask.program import program_name
from clipmask.weights.licenses import phrase
from clipmask.weights.names import OWN_MODEL

EXAMPLES = """\
examples:
  %(prog)s
  %(prog)s --weights output/custom --port 8000
  %(prog)s --weights hf-hub:owner/name --device cpu --max-megapixels 4
  %(prog)s --host 0.0.0.0          everyone who can reach this machine may use it

Uploads and results are stored in a temporary folder, which is removed at the end.
"""


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    limits = Limits()
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description="Serve a web page on which pictures and films are segmented.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--weights", default=OWN_MODEL, metavar="MODEL", help="a file, a folder or a name"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="cuda, cuda:1, mps or cpu (default: the config's)"
    )
    parser.add_argument(
        "--opts",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="config values that replace those of the model",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address of the page; 127.0.0.1: only this machine can reach it",
    )
    parser.add_argument("--port", type=int, default=7860, help="the port; 0: a free one")
    _add_limit(parser, "--max-megabytes", float, limits.megabytes, "the largest size of an upload")
    _add_limit(
        parser, "--max-megapixels", float, limits.megapixels, "the largest size of a picture"
    )
    _add_limit(parser, "--max-frames", int, limits.frames, "the largest number of frames of a film")
    _add_limit(
        parser, "--max-pictures", int, limits.pictures, "the largest number of pictures at once"
    )
    _add_limit(
        parser, "--max-seconds", float, limits.seconds, "the time limit for pictures or a film"
    )
    _add_limit(
        parser, "--max-waiting", int, limits.waiting, "the largest number of waiting visitors"
    )
    return parser


def _add_limit(
    parser: argparse.ArgumentParser,
    name: str,
    type: type[int] | type[float],
    default: float,
    help: str,
) -> None:
    parser.add_argument(name, type=type, default=default, metavar="N", help=help)


def serve(args: argparse.Namespace, until: Callable[[str], object]) -> int:
    """Serves a web page for the model, made with gradio, until ``until`` returns.

    Args:
        args: the arguments of the command line.
        until: a function that is called with the address of the page when it is ready.

    Returns:
        0.

    Raises:
        UserError: gradio is not installed, the model can't be loaded, a limit is not positive, or
            the port is taken.
    """
    limits = Limits(
        megabytes=args.max_megabytes,
        megapixels=args.max_megapixels,
        frames=args.max_frames,
        pictures=args.max_pictures,
        seconds=args.max_seconds,
        waiting=args.max_waiting,
    )
    for limit, value in dataclasses.asdict(limits).items():
        if not value > 0:
            raise UserError(f"--max-{limit} {value:g}: must be above 0")
    with tempfile.TemporaryDirectory(prefix="clipmask-") as folder:
        # gradio reads these when it is imported or first used: its folder for files, and that it
        # sends no usage statistics
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        load_gradio()
        predictor = Predictor.from_pretrained(args.weights, args.device, args.opts)
        about = f"{args.weights}: {len(predictor.names)} classes; {phrase(predictor.licenses)}"
        page = build_page(Service(predictor, limits), Path(folder), about)
        _launch(page, args, limits)
        try:
            until(page.local_url)
        finally:
            page.close(verbose=False)
    return 0


def _launch(page: Any, args: argparse.Namespace, limits: Limits) -> None:
    try:
        page.queue(max_size=limits.waiting, default_concurrency_limit=1).launch(
            server_name=args.host,
            server_port=args.port or None,
            max_file_size=int(limits.megabytes * 1e6),
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            show_error=True,
            **page.clipmask_look,
        )
    except OSError as error:
        raise UserError(
            f"--host {args.host} --port {args.port}: can't be used ({error})"
        ) from error


def _until_interrupted(address: str) -> None:
    print(f"serving at {address}; Ctrl-C ends it", flush=True)
    while True:
        time.sleep(3600)


def _run(argv: Sequence[str] | None) -> int:
    return serve(build_parser().parse_args(argv), _until_interrupted)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments without the program's name; None takes ``sys.argv``.

    Returns:
        The exit status: 2 for a user's mistake; 130 for Ctrl-C, its usual end.
    """
    return run_main(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
