"""Loading of the demo's model, its classes and their colours."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping

from clipmask.cli.demo.colors import read_colors
from clipmask.cli.demo.truth import LabelledPictures
from clipmask.cli.vocabulary import read_vocabulary
from clipmask.config import load_cfg
from clipmask.errors import UserError, listed
from clipmask.escaping import escaped
from clipmask.inference import Predictor
from clipmask.paths import user_path
from clipmask.visualizer import Drawing
from clipmask.vocabulary import shown_names
from clipmask.weights.licenses import phrase
from clipmask.weights.names import OWN_MODEL, shipped_model


def view_opts(args: argparse.Namespace) -> list[str]:
    """Returns config keys and values, in alternation, for the options of inference.

    The options are ``--tta``, ``--compile`` and ``--sliding-window``.

    Raises:
        UserError: the size of the window is not height x width.
    """
    opts = []
    if args.tta:
        opts += ["TEST.AUG.ENABLED", "True"]
    if args.compile:
        opts += ["MODEL.COMPILE", "True"]
    if args.sliding_window is None:
        return opts
    opts += ["TEST.SLIDING_WINDOW.ENABLED", "True"]
    if not args.sliding_window:
        return opts
    size = re.fullmatch(r"(\d+)[xX](\d+)", args.sliding_window)
    if size is None:
        raise UserError(
            f"--sliding-window {args.sliding_window}: give height x width in pixels, such as"
            " 512x1024"
        )
    return [*opts, "TEST.SLIDING_WINDOW.SIZE", f"[{int(size[1])}, {int(size[2])}]"]


def load_predictor(
    args: argparse.Namespace, drawing: Drawing, dataset: LabelledPictures | None = None
) -> Predictor:
    """Builds the predictor that the command line describes.

    Args:
        args: the arguments of the demo.
        drawing: how overlays are drawn.
        dataset: the dataset whose classes and colours are used; None: the classes of the model and
            a fixed palette.

    Raises:
        UserError: there is no model, or it can't segment the classes; no colour belongs to a class.
    """
    names = None if args.vocabulary is None else read_vocabulary(args.vocabulary)
    chosen = None if args.colors in (None, "dataset") else read_colors(user_path(args.colors))
    predictor = _load(args)
    colors: Mapping[str, list[int]] = {}
    if dataset is not None:
        colors = dataset.prepare(predictor, args.embeddings)
    elif names is not None:
        predictor.set_vocabulary(names, args.embeddings)
    if args.colors == "dataset":
        colors = colors or predictor.dataset_colors
        if not colors:
            raise UserError(
                "--colors dataset: the model's checkpoint has no colours; remove the option, or"
                " name a file"
            )
    elif chosen is not None:
        _check_names(args.colors, chosen, predictor.names)
        colors = {**colors, **chosen}
    predictor.set_colors(colors)
    predictor.drawing = drawing
    return predictor


def _load(args: argparse.Namespace) -> Predictor:
    opts = [*view_opts(args), *args.opts]
    if args.device:
        opts += ["MODEL.DEVICE", args.device]
    if args.weights is not None and not args.weights.strip():
        raise UserError("--weights '': names no file; remove it to use the bundled model")
    weights = args.weights
    if not weights:
        weights = dict(zip(args.opts[::2], args.opts[1::2], strict=False)).get("MODEL.WEIGHTS")
    if args.config_file:
        if weights:
            opts += ["MODEL.WEIGHTS", weights]
        cfg = load_cfg(args.config_file, opts)
        predictor = Predictor.from_config(cfg, batch_size=args.batch_size)
        # The weights in a training's config are those at its start, so the line names the source.
        chosen = cfg.MODEL.WEIGHTS
        why = f"MODEL.WEIGHTS of {args.config_file}; to use others: --weights FILE"
    else:
        chosen, why = weights or shipped_model(OWN_MODEL), "the bundled model"
        predictor = Predictor.from_checkpoint(chosen, opts=opts, batch_size=args.batch_size)
    where = chosen if weights else f"{chosen}, {why}"
    classes = f"{len(predictor.names)} classes: {listed(shown_names(predictor.names))}"
    line = f"model: {where} ({classes}); {phrase(predictor.licenses)}"
    print(escaped(line), file=sys.stderr)
    return predictor


def _check_names(file: str, colors: Mapping[str, object], names: tuple[str, ...]) -> None:
    """Checks the names in a file of colours, and prints those that are not class names.

    Raises:
        UserError: none of the names is a class name.
    """
    known = {name.casefold() for name in (*names, *shown_names(names))}
    unknown = [name for name in colors if name.casefold() not in known]
    if len(unknown) == len(colors):
        raise UserError(
            f"--colors {file}: has no colour for any of the classes"
            f" {', '.join(shown_names(names))}; it has {listed(unknown)}"
        )
    if unknown:
        print(f"--colors {file}: no class has the name {listed(unknown)}", file=sys.stderr)
