"""``clipmask-pack``: packs a checkpoint into one small file that is enough to use the model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from clipmask.cli import command
from clipmask.cli.arguments import add_force, add_opts, new_parser
from clipmask.cli.output import output_file, write_output
from clipmask.errors import UserError, listed
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.hub import push
from clipmask.weights.licenses import checkpoint_licenses, phrase
from clipmask.weights.packed import pack


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(
        "Write the weights, config, class names and text embedding of a checkpoint to one"
        " .safetensors file, without the optimiser. The demo, --eval-only and MODEL.WEIGHTS read"
        " this file."
    )
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help="a checkpoint of train_net.py"
    )
    parser.add_argument("--output", metavar="FILE.safetensors", help="the file to write")
    add_force(parser)
    parser.add_argument(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help=(
            "upload the file, with a card that states classes and licences, to a repository of"
            " Hugging Face's hub; log in with hf auth login before"
        ),
    )
    parser.add_argument(
        "--private", action="store_true", help="if the repository is created, make it private"
    )
    parser.add_argument("--half", action="store_true", help="store float16, half the size")
    add_opts(
        parser,
        "config values to store instead of the training's; if T came from a file,"
        " MODEL.CLIP.EMBEDDINGS '' makes the model MODEL.CLIP.NAME, which must be that of the"
        " file, embed new class names",
    )
    return parser


def _run(argv: Sequence[str] | None) -> None:
    args = build_parser().parse_args(argv)
    if not args.output and not args.push_to_hub:
        raise UserError(
            "no output: give --output FILE.safetensors, --push-to-hub OWNER/NAME or both"
        )
    output = output_file(args.output, [".safetensors"], args.force) if args.output else None
    checkpoint = load_checkpoint(args.weights)
    content = pack(checkpoint, args.weights, half=args.half, opts=args.opts)
    where = []
    if output is not None:
        write_output(output, lambda file: file.write(content))
        where.append(str(output))
    if args.push_to_hub:
        where.append(push(checkpoint, content, args.push_to_hub, private=args.private))
    names = checkpoint["class_names"]
    size = f"{len(content) / 1e6:.1f} MB{', float16' if args.half else ''}"
    print(
        f"{args.weights} -> {' and '.join(where)} ({size}; {len(names)} classes:"
        f" {listed(names)}); {phrase(checkpoint_licenses(checkpoint))}"
    )


main = command(_run)


if __name__ == "__main__":
    sys.exit(main())
