"""``demo/demo.py`` and ``clipmask-demo``: the command line of the demo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from clipmask.cli import command
from clipmask.cli.arguments import add_force, add_opts, add_register, new_parser
from clipmask.cli.demo.film import segment_film, show_webcam
from clipmask.cli.demo.inputs import find_pictures
from clipmask.cli.demo.model import load_predictor, view_opts
from clipmask.cli.demo.segment import output_path, segment_pictures
from clipmask.cli.demo.truth import LabelledPictures, dataset_name
from clipmask.cli.register import register_file
from clipmask.errors import UserError
from clipmask.film.smoothing import STRENGTH
from clipmask.inference import KINDS, Predictor
from clipmask.paths import user_path
from clipmask.visualizer import Drawing
from clipmask.weights.names import OWN_MODEL

EXAMPLES = """\
examples, with the bundled model (street scenes):
  %(prog)s --input street.jpg
  %(prog)s --input a.jpg 'drive/*.png' photos/ --recursive --output results
  %(prog)s --input photos/ --save overlay,labels,json --opacity 0.7
  %(prog)s --input a.jpg --output a_overlay.png --colors "my colors.txt"
  %(prog)s --input large.jpg --sliding-window 512x1024 --tta
  %(prog)s --video-input drive.mp4 --output drive_overlay.mp4
  %(prog)s --video-input drive.mp4 --every 5 --smooth
  %(prog)s --webcam --device cpu
with your own model:
  %(prog)s --weights output/streets/model_best.pth --input a.jpg
  %(prog)s --weights output/streets/model_best.pth --dataset streets.yaml --output checked
  %(prog)s --weights model_final.pth --input a.jpg --vocabulary "road,sky,zebra crossing" --embeddings mine.npz
  %(prog)s --config-file configs/camvid/clipmask_r50.yaml --weights weights.pth --input a.jpg

A checkpoint of train_net.py contains its config and its classes, so --weights is enough. --config-file is for files
with only weights, such as those of Detectron2. Quote patterns: they may match more files than fit on a command line.
"""  # noqa: E501


DEFAULT_OUTPUT = "output/demo"


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    about = "Segment pictures, a film or the webcam's picture with a trained model."
    parser = new_parser(about, EXAMPLES)
    model = parser.add_argument_group("model")
    model.add_argument(
        "--weights",
        metavar="MODEL",
        help=(
            "a checkpoint of train_net.py, a folder that contains one, hf-hub:owner/name, or the"
            " name of a bundled model (default: with --config-file its MODEL.WEIGHTS, else"
            f" {OWN_MODEL})"
        ),
    )
    model.add_argument(
        "--config-file",
        metavar="FILE",
        help="config: a YAML file or the name of one (default: the one in the checkpoint)",
    )
    model.add_argument(
        "--device",
        metavar="NAME",
        help=(
            "cuda, cuda:1, mps or cpu (default: MODEL.DEVICE of the config; the CPU if that device"
            " is absent)"
        ),
    )
    add_register(
        model, "Python files to import first, which register datasets or backbones (default: none)"
    )
    add_opts(model, "config values that replace those of the file (default: none)")
    model.add_argument(
        "--vocabulary",
        metavar="NAMES",
        help=(
            'the class names, "road,sky,zebra crossing", or a .txt with one per line (default:'
            " those of the training)"
        ),
    )
    model.add_argument(
        "--embeddings",
        metavar="FILE.npz",
        help="text embeddings of the vocabulary (default: CLIP computes them)",
    )
    model.add_argument(
        "--batch-size", type=int, default=1, help="number of equal-sized pictures in a batch"
    )
    model.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: average over the mirror image and several sizes (TEST.AUG in"
        " the config); slower",
    )
    model.add_argument(
        "--sliding-window",
        nargs="?",
        const="",
        metavar="HxW",
        help=(
            "segment in overlapping windows of this height and width in pixels; without a value,"
            " those of TEST.SLIDING_WINDOW.SIZE (default: pictures are segmented as a whole)"
        ),
    )
    model.add_argument(
        "--compile",
        action="store_true",
        help="compile the network with torch.compile first, which takes minutes",
    )
    source = parser.add_argument_group("what to segment, one of")
    source.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="pictures, quoted patterns and folders, mixed (default: none)",
    )
    source.add_argument(
        "--video-input",
        metavar="FILE",
        help=(
            "a film; the result has the same size, rate and number of frames, but no sound"
            " (default: none)"
        ),
    )
    source.add_argument(
        "--webcam",
        nargs="?",
        type=int,
        const=0,
        metavar="N",
        help="show the camera with this number (0 without a value) in a window; q ends it (default:"
        " none)",
    )
    source.add_argument(
        "--dataset",
        metavar="FILE.yaml",
        help=(
            "the pictures of a dataset, given by its descriptor or its registered name; its classes"
            " are used, and the results are compared with its labels (default: none)"
        ),
    )
    source.add_argument(
        "--split", metavar="NAME", help="the split of the descriptor (default: val)"
    )
    source.add_argument(
        "--recursive", action="store_true", help="search the subfolders of --input's folders too"
    )
    film = parser.add_argument_group("films and the webcam")
    film.add_argument(
        "--every",
        type=int,
        metavar="N",
        help=(
            "segment every N-th frame; the written film has the same duration, and 1/N of the"
            " frames and of the rate (default: 1, every frame)"
        ),
    )
    film.add_argument(
        "--smooth",
        nargs="?",
        type=float,
        const=STRENGTH,
        metavar="STRENGTH",
        help=(
            "average the class scores over time, along the motion in the picture, to reduce"
            f" flicker; from 0 (none) to below 1 (longest memory); {STRENGTH:g} without a value"
            " (default: no smoothing)"
        ),
    )
    result = parser.add_argument_group("results")
    result.add_argument(
        "--output",
        metavar="PATH",
        help=(
            "a folder, which is created if it is missing, or a file for one picture or a film; a"
            f" name that ends in / is a folder (default: {DEFAULT_OUTPUT})"
        ),
    )
    add_force(
        result,
        "replace existing files; without this option, only results that the demo wrote into a"
        " folder are replaced",
    )
    result.add_argument(
        "--save",
        metavar="KINDS",
        help=(
            "one or more of: overlay; labels (a PNG of class ids, which are positions in the list"
            " of class names); color (each class in its plain colour); scores (an .npz with names"
            " and float16 scores, classes x height x width, 2 bytes each before compression: 3.8 MB"
            " for 11 classes at 480x360); json (classes, shares, boxes; for films one line per"
            " frame); server_ids (labels in the ids of the benchmark's server, for datasets that"
            " have them, such as Cityscapes); comparison (picture, truth, prediction and errors,"
            " with --dataset) (default: overlay; comparison with --dataset)"
        ),
    )
    result.add_argument(
        "--colors",
        metavar="FILE",
        help=(
            "the colours of some or all classes: a .yaml or .json file that maps names to [r, g,"
            " b], or text with one class per line, 'name: [r, g, b]' or 'r g b name'; or the word"
            " dataset, for those of the model's dataset (default: those of --dataset, else fixed"
            " colours by name that colour-blind readers can distinguish)"
        ),
    )
    result.add_argument(
        "--paint-background",
        action="store_true",
        help="paint a class called background too, which is otherwise not painted",
    )
    result.add_argument(
        "--opacity", type=float, default=0.5, help="the opacity of the overlay's colours, 0 to 1"
    )
    return parser


def _check(args: argparse.Namespace) -> list[str]:
    """Checks the options and returns the kinds of ``--save``.

    Raises:
        UserError: a value is out of range, or two options contradict each other.
    """
    given = [name for name, value in _sources(args).items() if value is not None]
    if len(given) != 1:
        what = "nothing to segment"
        if given:
            what = f"{' and '.join(given)} exclude each other"
        raise UserError(
            f"{what}: give one of --input PATH ..., --dataset FILE.yaml, --video-input FILE or"
            " --webcam (--help has examples)"
        )
    if args.embeddings and not args.vocabulary and not args.dataset:
        raise UserError(
            '--embeddings needs --vocabulary "name,name,...", the names to read from the file'
        )
    if args.vocabulary and args.dataset:
        raise UserError(
            "--vocabulary and --dataset exclude each other: the dataset's classes are used"
        )
    if args.split and not args.dataset:
        raise UserError("--split needs --dataset FILE.yaml")
    if args.webcam is not None and args.output:
        raise UserError("--webcam shows a window and writes nothing: remove --output")
    of_pictures = args.input is not None or args.dataset
    if of_pictures and (args.every is not None or args.smooth is not None):
        raise UserError(
            "--every and --smooth need --video-input or --webcam; they can't be used for pictures"
        )
    if args.every is not None and args.every < 1:
        raise UserError(f"--every {args.every}: must be 1 (every frame) or more")
    if args.smooth is not None and not 0 <= args.smooth < 1:
        raise UserError(
            f"--smooth {args.smooth:g}: must be at least 0 (no smoothing) and below 1, such as"
            f" {STRENGTH:g}"
        )
    view_opts(args)
    save = "comparison" if args.dataset else "overlay"
    if args.save is not None:
        save = args.save
    kinds = list(dict.fromkeys(kind.strip() for kind in save.split(",") if kind.strip()))
    if not kinds or not set(kinds) <= set(KINDS):
        raise UserError(
            f"--save {args.save}: name one or more of {', '.join(KINDS)}, separated by commas"
        )
    if "comparison" in kinds and not args.dataset:
        raise UserError("--save comparison: it compares with labels, so it needs --dataset")
    return kinds


def _sources(args: argparse.Namespace) -> dict[str, object]:
    names = ("--input", "--dataset", "--video-input", "--webcam")
    return {name: getattr(args, name[2:].replace("-", "_")) for name in names}


def _run(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    kinds = _check(args)
    drawing = Drawing(args.opacity, args.paint_background)
    output = output_path(args.output or DEFAULT_OUTPUT)

    for path in args.register:
        register_file(path)
    dataset = None
    if args.dataset is not None:
        dataset = LabelledPictures(dataset_name(args.dataset, args.split))
    if dataset is not None and not dataset.labelled and "comparison" in kinds:
        raise UserError(
            f"--dataset {args.dataset}: has no labels to compare with; use --save overlay"
        )

    def load() -> Predictor:
        return load_predictor(args, drawing, dataset)

    every = args.every or 1
    if dataset is not None:
        return segment_pictures(
            load, dataset.inputs, output, kinds, dataset=dataset, force=args.force
        )
    if args.input is not None:
        pictures = find_pictures(args.input, recursive=args.recursive, exclude=output)
        return segment_pictures(load, pictures, output, kinds, force=args.force)
    if args.video_input is not None:
        film = user_path(args.video_input)
        return segment_film(
            load, film, output, kinds, every=every, smooth=args.smooth, force=args.force
        )
    return show_webcam(load, args.webcam, every=every, smooth=args.smooth)


# also 1: some pictures could not be read
main = command(_run)


if __name__ == "__main__":
    sys.exit(main())
