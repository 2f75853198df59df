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

from clipmask.cli import command
from clipmask.cli.arguments import add_opts, new_parser
from clipmask.cli.interrupts import interrupted_by_signals
from clipmask.cli.serve.page import build_page, load_gradio
from clipmask.cli.serve.service import Limits, Service
from clipmask.errors import UserError
from clipmask.inference import Predictor
from clipmask.weights.licenses import phrase, short
from clipmask.weights.names import OWN_MODEL

EXAMPLES = """\
examples:
  %(prog)s
  %(prog)s --weights output/custom --port 8000
  %(prog)s --weights hf-hub:owner/name --device cpu --max-megapixels 4
  %(prog)s --host 0.0.0.0          everyone who can reach this machine may use it

Uploads and results are stored in a temporary folder, which is removed at the end.
"""
# the fields of ``Limits``
LIMITS: dict[str, tuple[type[int] | type[float], str]] = {
    "megabytes": (float, "the largest size of an upload"),
    "megapixels": (float, "the largest size of a picture"),
    "frames": (int, "the largest number of frames of a film"),
    "pictures": (int, "the largest number of pictures at once"),
    "seconds": (float, "the time limit for pictures or a film"),
    "waiting": (int, "the largest number of waiting visitors"),
}


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser("Serve a web page on which pictures and films are segmented.", EXAMPLES)
    parser.add_argument(
        "--weights", default=OWN_MODEL, metavar="MODEL", help="a file, a folder or a name"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="cuda, cuda:1, mps or cpu (default: the config's)"
    )
    add_opts(parser, "config values that replace those of the model")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address of the page; 127.0.0.1: only this machine can reach it",
    )
    parser.add_argument("--port", type=int, default=7860, help="the port; 0: a free one")
    for name, (kind, text) in LIMITS.items():
        default = getattr(Limits(), name)
        parser.add_argument(f"--max-{name}", type=kind, default=default, metavar="N", help=text)
    return parser


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
    limits = Limits(**{name: getattr(args, f"max_{name}") for name in LIMITS})
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
        terms = f"Licences of the model: {short(predictor.licenses)}."
        page = build_page(Service(predictor, limits), Path(folder), terms, about)
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
    args = build_parser().parse_args(argv)
    with interrupted_by_signals():  # so that the folder of uploads is removed then too
        return serve(args, _until_interrupted)


main = command(_run)


if __name__ == "__main__":
    sys.exit(main())
