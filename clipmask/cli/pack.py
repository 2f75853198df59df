"""``clipmask-pack``: a checkpoint becomes one small file with all that is needed to use the model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from clipmask.cli import run_main
from clipmask.cli.output import output_file, shortened, write_output
from clipmask.program import program_name
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.packed import pack


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=program_name(),
        description="Write a checkpoint's weights with their config, class names and text embedding as one "
        ".safetensors file, without the optimiser: what the demo, --eval-only and MODEL.WEIGHTS take.",
    )
    parser.add_argument("--weights", required=True, metavar="FILE", help="a checkpoint of train_net.py")
    parser.add_argument("--output", required=True, metavar="FILE.safetensors", help="the file to write")
    parser.add_argument("--half", action="store_true", help="store float16, half the size")
    parser.add_argument(
        "--opts",
        nargs="*",
        default=[],
        metavar="KEY VALUE",
        help="config values to store in place of the training's; where T came from a file, MODEL.CLIP.EMBEDDINGS '' "
        "says that new class names may go to the model MODEL.CLIP.NAME, which made that file",
    )
    return parser


def _run(argv: Sequence[str] | None) -> None:
    args = build_parser().parse_args(argv)
    output = output_file(args.output, ".safetensors")
    checkpoint = load_checkpoint(args.weights)
    content = pack(checkpoint, args.weights, half=args.half, opts=args.opts)
    write_output(output, lambda file: file.write(content))
    names = checkpoint["class_names"]
    print(
        f"{args.weights} -> {output} ({len(content) / 1e6:.1f} MB{', float16' if args.half else ''}; {len(names)} "
        f"classes: {shortened(names)})"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments without the program's name; None takes ``sys.argv``.

    Returns:
        The exit status: 0; 2 for a user's mistake; 130 for Ctrl-C.
    """
    return run_main(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
