"""``clipmask-export``: exports a checkpoint for ONNX Runtime, OpenVINO or ``torch.export``."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipmask.cli import command
from clipmask.cli.arguments import add_force, add_opts, new_parser
from clipmask.cli.demo.inputs import find_pictures
from clipmask.cli.demo.truth import LabelledPictures, dataset_name
from clipmask.cli.output import make_folder, output_file
from clipmask.data import TestMapper
from clipmask.errors import UserError
from clipmask.evaluation.scores import count_pixels, scores
from clipmask.export.network import ExportedNetwork
from clipmask.export.quantize import MOST_PICTURES, quantize, spread_evenly
from clipmask.export.verify import check, compare, made_pictures
from clipmask.export.write import BESIDE, ENDINGS, WRITERS, make_program
from clipmask.inference import Predictor
from clipmask.inference.pixels import to_pixels
from clipmask.inference.runtimes import Run, open_network
from clipmask.modeling import ClipMask
from clipmask.modeling.mask_decoder import LinearClassifier
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.exported import describe
from clipmask.weights.licenses import phrase
from clipmask.weights.names import find_weights

# the sizes of the pictures on which a network for any size is compared with the model
FREE_SIZES = ((96, 128), (101, 139), (200, 72))
COMPARED = 8  # number of calibration pictures on which an 8-bit network is compared


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(
        "Write a network from pictures (B, 3, H, W), uint8, RGB, to label maps (B, H, W), uint8."
        " Normalisation and resizing are part of the network. It is compared with the model before"
        " it is saved."
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="MODEL",
        help="a checkpoint, a file of clipmask-pack, a folder, or the name of a model",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the file to write")
    add_force(parser)
    parser.add_argument(
        "--format", choices=list(ENDINGS), default="onnx", help="which runtime it is for"
    )
    parser.add_argument(
        "--size", metavar="HxW", help="the height and width of all pictures (default: any size)"
    )
    parser.add_argument(
        "--free-vocabulary",
        action="store_true",
        help=(
            "add a second input named text: CLIP's embeddings of the class names, float32 (K, D)"
        ),
    )
    parser.add_argument(
        "--scores", action="store_true", help="return scores, float32 (B, K, H, W), not labels"
    )
    parser.add_argument(
        "--half", action="store_true", help="store weights in 16 bits, half the size"
    )
    parser.add_argument(
        "--int8",
        nargs="+",
        metavar="PATH",
        help=(
            "compute convolutions in 8 bits, calibrated on these pictures and folders (at most"
            f" {MOST_PICTURES} pictures); only with onnx"
        ),
    )
    parser.add_argument(
        "--dataset",
        metavar="FILE.yaml",
        help=(
            "compute the mIoU of model and network on a dataset (a descriptor or a registered"
            " name), and print the difference"
        ),
    )
    parser.add_argument(
        "--split", metavar="NAME", help="the split of the descriptor (default: val)"
    )
    parser.add_argument(
        "--verify",
        nargs="+",
        default=[],
        metavar="PICTURE",
        help="also compare the results and times on these pictures",
    )
    add_opts(parser, "config keys and values")
    return parser


def read_size(text: str) -> tuple[int, int]:
    """Reads a size such as ``480x640``, height and width in pixels.

    Raises:
        UserError: the text has another form.
    """
    match = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", text)
    if match is None:
        raise UserError(f"--size {text}: give height x width in pixels, such as 480x640")
    return int(match[1]), int(match[2])


def _seen_size(predictor: Predictor, size: tuple[int, int] | None) -> tuple[int, int] | None:
    """Returns the size to which the model resizes pictures; None if it does not resize them."""
    if size is None:
        if predictor.cfg.INPUT.MIN_SIZE_TEST:
            raise UserError(
                "this model resizes pictures to a shorter side of"
                f" {predictor.cfg.INPUT.MIN_SIZE_TEST} pixels (INPUT.MIN_SIZE_TEST). Give the size"
                " of your pictures, --size HEIGHTxWIDTH, or switch the resizing off: --opts"
                " INPUT.MIN_SIZE_TEST 0"
            )
        return None
    mapper = TestMapper.from_config(predictor.cfg)
    _, height, width = mapper.from_array(np.zeros((*size, 3), np.uint8))["image"].shape
    if size == (height, width):
        return None
    return int(height), int(width)


def _check_kind(model: ClipMask, free_vocabulary: bool) -> None:
    """Refuses a model that can't be exported."""
    if len(model.class_names) > 255:
        raise UserError(f"{len(model.class_names)} classes: exported networks can have at most 255")
    if free_vocabulary and isinstance(model.mask_decoder.classifier, LinearClassifier):
        raise UserError(
            "--free-vocabulary: this model has MODEL.CLIPMASK.CLASSIFIER linear, so its classes are"
            " fixed"
        )
    if free_vocabulary and model.columns_of(model.vocabulary) is not None:
        raise UserError(
            "--free-vocabulary: classes of this model have members, which only a fixed vocabulary"
            " can have"
        )


@torch.no_grad()
def _rows(model: ClipMask) -> torch.Tensor:
    """Returns CLIP's embeddings of the class names (K, D), before they are centred."""
    return model.text.select(model.text(), model.vocabulary) + model.text.mean


def _pictures(
    predictor: Predictor, paths: Sequence[str | Path], size: tuple[int, int] | None
) -> list[NDArray[np.uint8]]:
    """Reads pictures and, if ``size`` is given, resizes them."""
    pictures = []
    for path in paths:
        picture = Image.fromarray(to_pixels(path, predictor.image_format))
        if size is not None:
            picture = picture.resize((size[1], size[0]))
        pictures.append(np.array(picture))
    return pictures


def _check_options(args: argparse.Namespace) -> str:
    """Checks the options and returns the precision, a key of ``LEAST_AGREEMENT``.

    Raises:
        UserError: two options contradict each other.
    """
    if args.half and args.int8:
        raise UserError("--half and --int8 exclude each other: choose 16 or 8 bits")
    if args.half and args.format == "torch":
        raise UserError(
            "--half: works with onnx and openvino only, whose runtimes convert 16 to 32 bits when"
            " they load a file"
        )
    if args.int8 and args.format != "onnx":
        raise UserError("--int8: works with --format onnx only, because ONNX Runtime quantises")
    if args.split and not args.dataset:
        raise UserError("--split needs --dataset FILE.yaml")
    if args.int8:
        return "int8"
    if args.half:
        return "half"
    return "full"


def _compared(
    predictor: Predictor,
    run: Run,
    shown: dict[str, list[NDArray[np.uint8]]],
    rows: NDArray[np.float32] | None,
    precision: str,
) -> None:
    """Compares the network with its model on each kind of pictures, and prints the result."""
    for kind, pictures in shown.items():
        if pictures:
            agreement = compare(predictor, run, pictures, rows, timed=kind == "given")
            check(agreement, precision)
            print(f"{kind} pictures: {agreement}")


def _score(dataset: LabelledPictures, predictors: dict[str, Predictor]) -> str:
    """Computes the mIoU of two predictors on a dataset.

    Args:
        dataset: a dataset with labels.
        predictors: the name -> predictor of the model, and then of the network.

    Returns:
        The mIoU of both and the difference, as text.
    """
    found = []
    for predictor in predictors.values():
        confusion = np.zeros((len(dataset.classes),) * 2, dtype=np.int64)
        for result in predictor.stream([picture.path for picture in dataset.inputs]):
            truth = dataset.truth(result)
            if truth is not None:
                confusion += count_pixels(truth, result.labels, len(dataset.classes))
        found.append(scores(confusion).mean_iou)
    shown = ", ".join(f"{name} {value:.2f}" for name, value in zip(predictors, found, strict=True))
    return (
        f"mIoU on {len(dataset.inputs)} pictures of {dataset.name}: {shown}"
        f" ({found[1] - found[0]:+.2f})"
    )


def _labelled(args: argparse.Namespace, predictor: Predictor) -> LabelledPictures | None:
    """Returns the dataset of ``--dataset``, which must have the model's classes."""
    if not args.dataset:
        return None
    dataset = LabelledPictures(dataset_name(args.dataset, args.split))
    if not dataset.labelled:
        raise UserError(f"--dataset {args.dataset}: has no labels for a score")
    if dataset.classes != predictor.names:
        raise UserError(
            f"--dataset {args.dataset}: its classes ({', '.join(dataset.classes)}) differ from the"
            f" model's ({', '.join(predictor.names)})"
        )
    return dataset


def _run(argv: Sequence[str] | None) -> None:
    args = build_parser().parse_args(argv)
    ending, beside = ENDINGS[args.format], BESIDE.get(args.format, ())
    output = output_file(args.output, [ending], args.force, beside)
    precision = _check_options(args)
    size = None
    if args.size is not None:
        size = read_size(args.size)
    predictor = Predictor.from_checkpoint(find_weights(args.weights), device="cpu", opts=args.opts)
    model = predictor.model
    if not isinstance(model, ClipMask):
        raise UserError(
            f"--weights {args.weights}: is an exported network; name the checkpoint from which it"
            " was exported"
        )
    _check_kind(model, args.free_vocabulary)
    if predictor.image_format.channels != 3:
        raise UserError(
            f"--weights {args.weights}: takes {predictor.image_format.channels} bands; only models"
            " for colour pictures can be exported"
        )
    seen, given = _seen_size(predictor, size), _pictures(predictor, args.verify, size)
    dataset = _labelled(args, predictor)
    calibration: list[NDArray[np.uint8]] = []
    if args.int8:
        paths = [picture.path for picture in find_pictures(args.int8, option="--int8")]
        calibration = _pictures(predictor, spread_evenly(paths), size)
    model.prepare()
    text = rows = None
    if args.free_vocabulary:
        text = _rows(model)
        rows = text.numpy()
    bgr = predictor.cfg.INPUT.FORMAT == "BGR"
    network = ExportedNetwork(model, size=size, seen=seen, scores=args.scores, bgr=bgr)
    description = describe(
        {**load_checkpoint(find_weights(args.weights)), "config": predictor.cfg.dump()},
        names=predictor.names,
        colors=predictor.colors,
        output="scores" if args.scores else "labels",
        size=size,
        text=rows,
    )
    program = make_program(network, size, text)
    make_folder(output)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".clipmask-export-") as folder:
        made = Path(folder) / output.name
        WRITERS[args.format](program, made, description, args.half)
        if calibration:
            quantize(made, calibration, rows)
        run = open_network(made).run
        # An 8-bit network is only accurate on pictures like those of its calibration, so it is not
        # compared on generated ones.
        shown = {"those": calibration[:COMPARED]}
        if not calibration:
            shown["made"] = made_pictures([size] if size else FREE_SIZES)
        _compared(predictor, run, {**shown, "given": given}, rows, precision)
        if dataset is not None:
            pair = {"model": predictor, "network": Predictor.from_checkpoint(made)}
            print(_score(dataset, pair))
        # the file that the user named is moved last
        files = sorted(Path(folder).iterdir(), key=lambda file: file.suffix == output.suffix)
        total = sum(file.stat().st_size for file in files)
        for file in files:
            file.replace(output.parent / file.name)
    taken, vocabulary = "any size", f"{len(predictor.names)} classes"
    if size is not None:
        taken = f"{size[1]}x{size[0]} pixels"
    if rows is not None:
        vocabulary = "any class names"
    size_of_all = f"{total / 1e6:.1f} MB"
    print(
        f"{args.weights} -> {output} ({size_of_all}; pictures of {taken}, {vocabulary});"
        f" {phrase(predictor.licenses)}"
    )


main = command(_run)


if __name__ == "__main__":
    sys.exit(main())
