"""``demo/demo.py`` and ``clipmask-demo``: segments pictures, folders, films and the webcam's picture."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from clipmask.cli import HelpFormatter, run_main
from clipmask.cli.film import segment_film, show_webcam
from clipmask.cli.segment import segment_pictures
from clipmask.cli.vocabulary import read_vocabulary
from clipmask.config import load_cfg
from clipmask.errors import UserError
from clipmask.predictor import KINDS, Predictor
from clipmask.predictor.smoothing import STRENGTH

EXAMPLES = """\
examples:
  %(prog)s --weights output/toy/model_final.pth --input street.jpg
  %(prog)s --weights model_final.pth --input a.jpg 'drive/*.png' photos/ --recursive --output results
  %(prog)s --weights model_final.pth --input photos/ --save overlay,labels,color --opacity 0.7
  %(prog)s --weights model_final.pth --input a.jpg --output a_overlay.png
  %(prog)s --weights model_final.pth --input large.jpg --sliding-window 512x1024 --tta
  %(prog)s --weights model_final.pth --input a.jpg --vocabulary "road,sky,zebra crossing" --embeddings mine.npz
  %(prog)s --weights model_final.pth --video-input drive.mp4 --output drive_overlay.mp4
  %(prog)s --weights model_final.pth --video-input drive.mp4 --every 5 --smooth
  %(prog)s --weights model_final.pth --webcam --opts MODEL.DEVICE cpu
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --input a.jpg --opts MODEL.WEIGHTS model_final.pth

A checkpoint of train_net.py knows its config and its classes, so --weights is enough. --config-file is for weights
alone, such as Detectron2 writes. Quote patterns, and they may match more files than a command line holds.
"""


DEFAULT_OUTPUT = "output/demo"


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Segment pictures, a film or the webcam's picture with a trained model.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    model = parser.add_argument_group("model, by at least one of the first two")
    model.add_argument("--weights", metavar="FILE", help="a checkpoint of train_net.py (default: MODEL.WEIGHTS)")
    model.add_argument("--config-file", metavar="FILE", help="config, YAML (default: the one in the checkpoint)")
    model.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="config values over the file's (default: none)"
    )
    model.add_argument(
        "--vocabulary",
        metavar="NAMES",
        help='class names to look for, "road,sky,zebra crossing" or a .txt with one a line (default: those of the '
        "training)",
    )
    model.add_argument(
        "--embeddings", metavar="FILE.npz", help="text embeddings of the vocabulary (default: CLIP makes them)"
    )
    model.add_argument("--batch-size", type=int, default=1, help="pictures of one size that are computed together")
    model.add_argument(
        "--tta",
        action="store_true",
        help="average over the mirror image and several sizes, TEST.AUG in the config; slower",
    )
    model.add_argument(
        "--sliding-window",
        nargs="?",
        const="",
        metavar="HxW",
        help="segment in overlapping windows of that height and width in pixels, those of TEST.SLIDING_WINDOW.SIZE if "
        "none are said (default: pictures are seen whole)",
    )
    source = parser.add_argument_group("what to segment, one of")
    source.add_argument(
        "--input", nargs="+", metavar="PATH", help="pictures, quoted patterns and folders, mixed (default: none)"
    )
    source.add_argument(
        "--video-input",
        metavar="FILE",
        help="a film; what is written of it has its size, rate and number of frames, and no sound (default: none)",
    )
    source.add_argument(
        "--webcam",
        nargs="?",
        type=int,
        const=0,
        metavar="N",
        help="the camera of that number, 0 if none is said, in a window; q ends it (default: none)",
    )
    source.add_argument("--recursive", action="store_true", help="take the folders in --input's folders too")
    film = parser.add_argument_group("films and the webcam")
    film.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="segment one of N frames; films written last as long, with 1/N of the frames and of the rate (default: 1, "
        "each frame)",
    )
    film.add_argument(
        "--smooth",
        nargs="?",
        type=float,
        const=STRENGTH,
        metavar="STRENGTH",
        help="average the class scores over time, along the motion in the picture, which takes flicker away; 0 (none) "
        f"to below 1 (longest memory), {STRENGTH:g} if none is said (default: each frame by itself)",
    )
    result = parser.add_argument_group("results")
    result.add_argument(
        "--output",
        metavar="PATH",
        help=f"a folder, made if missing, or a file for one picture or a film (default: {DEFAULT_OUTPUT})",
    )
    result.add_argument(
        "--save", default="overlay", metavar="KINDS", help=f"some of {','.join(KINDS)}; labels are ids in a PNG"
    )
    result.add_argument("--opacity", type=float, default=0.5, help="of the overlay's colours, 0 to 1")
    return parser


def _check(args: argparse.Namespace) -> list[str]:
    """Returns the kinds of ``--save``; raises a ``UserError`` for options that make no sense together."""
    given = [name for name, value in _sources(args).items() if value is not None]
    if len(given) != 1:
        what = f"{' and '.join(given)} exclude each other" if given else "nothing to segment"
        raise UserError(f"{what}: say one of --input PATH ..., --video-input FILE or --webcam (--help has examples)")
    if not args.weights and not args.config_file:
        raise UserError(
            "no model: say --weights checkpoint.pth (a checkpoint of train_net.py, which knows its config and classes) "
            "or --config-file FILE --opts MODEL.WEIGHTS FILE"
        )
    if args.embeddings and not args.vocabulary:
        raise UserError('--embeddings goes with --vocabulary "name,name,...", the names to take from the file')
    if args.webcam is not None and args.output:
        raise UserError("--webcam shows a window and writes nothing: leave --output away")
    if args.input is not None and (args.every is not None or args.smooth is not None):
        raise UserError("--every and --smooth go with --video-input or --webcam; pictures (--input) are no film")
    if args.every is not None and args.every < 1:
        raise UserError(f"--every {args.every}: is 1 (each frame) or more")
    if args.smooth is not None and not 0 <= args.smooth < 1:
        raise UserError(f"--smooth {args.smooth:g}: is at least 0 (no smoothing) and below 1, such as {STRENGTH:g}")
    view_opts(args)
    if not 0 <= args.opacity <= 1:
        raise UserError(f"--opacity {args.opacity}: is between 0 (the picture) and 1 (the colours)")
    kinds = list(dict.fromkeys(kind.strip() for kind in args.save.split(",") if kind.strip()))
    if not kinds or not set(kinds) <= set(KINDS):
        raise UserError(f"--save {args.save}: name some of {', '.join(KINDS)}, between commas")
    return kinds


def _sources(args: argparse.Namespace) -> dict[str, object]:
    return {"--input": args.input, "--video-input": args.video_input, "--webcam": args.webcam}


def view_opts(args: argparse.Namespace) -> list[str]:
    """Returns ``--tta`` and ``--sliding-window`` as config keys and values in turn.

    Raises:
        UserError: the window's size is not height x width.
    """
    opts = ["TEST.AUG.ENABLED", "True"] if args.tta else []
    if args.sliding_window is None:
        return opts
    opts += ["TEST.SLIDING_WINDOW.ENABLED", "True"]
    if not args.sliding_window:
        return opts
    size = re.fullmatch(r"(\d+)[xX](\d+)", args.sliding_window)
    if size is None:
        raise UserError(f"--sliding-window {args.sliding_window}: say height x width in pixels, such as 512x1024")
    return [*opts, "TEST.SLIDING_WINDOW.SIZE", f"[{int(size[1])}, {int(size[2])}]"]


def load_predictor(args: argparse.Namespace) -> Predictor:
    """Builds the predictor that the command line describes."""
    names = None if args.vocabulary is None else read_vocabulary(args.vocabulary)
    opts = [*view_opts(args), *args.opts]
    if args.config_file:
        weights = ["MODEL.WEIGHTS", args.weights] if args.weights else []
        predictor = Predictor.from_config(load_cfg(args.config_file, [*opts, *weights]), batch_size=args.batch_size)
    else:
        predictor = Predictor.from_checkpoint(args.weights, opts=opts, batch_size=args.batch_size)
    if names is not None:
        predictor.set_vocabulary(names, args.embeddings)
    return predictor


def _run(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    kinds = _check(args)
    output = Path(args.output or DEFAULT_OUTPUT)

    def load() -> Predictor:
        return load_predictor(args)

    if args.input is not None:
        return segment_pictures(load, args.input, output, kinds, opacity=args.opacity, recursive=args.recursive)
    if args.video_input is not None:
        film = Path(args.video_input).expanduser()
        return segment_film(load, film, output, kinds, opacity=args.opacity, every=args.every or 1, smooth=args.smooth)
    return show_webcam(load, args.webcam, opacity=args.opacity, every=args.every or 1, smooth=args.smooth)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments without the program's name; None takes ``sys.argv``.

    Returns:
        The exit status: 0; 1 where some pictures could not be read; 2 for a user's mistake; 130 for Ctrl-C.
    """
    return run_main(_run, argv)


if __name__ == "__main__":
    sys.exit(main())
