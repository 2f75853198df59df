"""``clipmask-data``: the command line of init, convert, check and show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from clipmask.cli import command
from clipmask.cli.arguments import HelpFormatter, add_force, add_register, new_parser
from clipmask.curation.converting.formats import FORMATS

EXAMPLES = """\
examples, in the usual order:
  %(prog)s init photos                     examine a folder, write photos.yaml
  %(prog)s convert export --output mine    make label maps from annotations of COCO, Labelme, YOLO and others
  %(prog)s check photos.yaml               read every picture and label map, report problems
  %(prog)s show photos.yaml --split val    write labelled pictures for inspection

"%(prog)s COMMAND --help" describes each command.
"""  # noqa: E501
INIT_EXAMPLES = """\
examples:
  %(prog)s photos
  %(prog)s photos --names "road,sky,car" --output streets.yaml

It finds images/ beside labels/, masks/ and similar folders, JPEGImages/ beside SegmentationClass/, train/ beside
trainannot/, leftImg8bit/ beside gtFine/, a.jpg beside a_mask.png; train, val and test as folders or lists; class names
in classes.txt, labels.txt, label_colors.txt, labelmap.txt, class_dict.csv or _classes.csv. The comments in the file
that it writes give the reasons for each guess.
"""  # noqa: E501
CONVERT_EXAMPLES = """\
examples:
  %(prog)s export/annotations.json --output mine       COCO, Label Studio, VIA or Labelme
  %(prog)s roboflow --output mine                      train/, valid/ and test/ with _annotations.coco.json
  %(prog)s yolo --output mine                          data.yaml, images/ and labels/*.txt with polygons
  %(prog)s annotations.xml --images frames --output mine --background void
  %(prog)s data --output mine                          Hugging Face: data/train-00000-of-00001.parquet
  %(prog)s photos --format masks --output mine         masks/crop/s0.png, or s0_crop.png beside s0.jpg
"""  # noqa: E501
CHECK_EXAMPLES = """\
examples:
  %(prog)s photos.yaml
  %(prog)s photos.yaml --output report --workers 2
  %(prog)s my_train my_val --register my_data.py

exit status: 0 no finding would stop training, 1 some finding would, 2 a mistake in the command or the descriptor.
"""  # noqa: E501
SHOW_EXAMPLES = """\
examples:
  %(prog)s photos.yaml
  %(prog)s photos.yaml --split val --number 20 --seed 1 --output pictures
  %(prog)s my_val --register my_data.py

exit status: 0; 1 if some of the chosen pictures could not be read; 2 a mistake in the command or the descriptor.
"""  # noqa: E501
_OTHERS = (
    "replace existing files; without this option, only files that ClipMask wrote into the folder"
    " are replaced"
)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    about = "Describe your own labelled pictures in a YAML file, check them, and look at them."
    parser = new_parser(about, EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_init(commands)
    _add_convert(commands)
    _add_check(commands)
    _add_show(commands)
    return parser


def _add_init(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "init",
        help="write a descriptor for a folder of pictures and label maps",
        description=(
            "Examine a folder and write a descriptor: the YAML file for train_net.py --dataset.\n"
            "Its comments give the reasons for each value, and say what you should change."
        ),
        epilog=INIT_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="a folder that contains pictures and label maps"
    )
    parser.add_argument(
        "--output",
        metavar="FILE.yaml",
        help="the file to write (default: FOLDER's name with .yaml, here)",
    )
    parser.add_argument(
        "--names",
        metavar="NAMES",
        help=(
            'class names, "road,sky,...", in the order of the classes that are found (default:'
            " those in a file of names in FOLDER, else class_0, class_1, ...)"
        ),
    )
    parser.add_argument(
        "--labels",
        metavar="NAME",
        help="the name of the folders of label maps (default: guessed)",
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=200,
        metavar="N",
        help="the number of label maps that are read to find the classes",
    )
    add_force(parser, "replace the output file if it exists")
    parser.set_defaults(run=_init)


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "convert",
        help="make label maps and a descriptor from polygons, RLE or masks of one class each",
        description=(
            "Read the annotations of another tool and write label maps of ids, lists of the splits"
            " and a\ndescriptor. The pictures are not copied."
        ),
        epilog=CONVERT_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a file of annotations, or a folder that contains some"
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the output folder")
    parser.add_argument(
        "--images", metavar="FOLDER", help="the folder of the pictures (default: that of SOURCE)"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="the format of the annotations (default: detected, except masks)",
    )
    parser.add_argument(
        "--names",
        metavar="NAMES",
        help=(
            'class names, "road,sky,...", in the order of their ids (default: those in the'
            " annotations, in their order there)"
        ),
    )
    parser.add_argument(
        "--labels",
        metavar="COLUMN",
        help="for Parquet files: the column of the label maps (default: guessed from the names)",
    )
    parser.add_argument(
        "--background",
        default="background",
        metavar="NAME",
        help="the class of pixels without annotation; void: they have no class",
    )
    parser.add_argument(
        "--overlap",
        choices=("smaller", "later"),
        default="smaller",
        help="which of two overlapping shapes is on top: the smaller, or the later in the file",
    )
    add_force(parser, "write into a folder that is not empty")
    parser.set_defaults(run=_convert)


def _add_check(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "check",
        help="read every picture and label map and report problems",
        description=(
            "Read every picture and label map as training does. Report the problems for a training,"
            " how often\neach class occurs, and the sizes of the pictures: as text, as report.json,"
            " as a bar chart\n(classes.png), and as sample pictures that show every class."
        ),
        epilog=CHECK_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    _add_sources(parser)
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="the output folder (default: the dataset's name with _check, here)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="the number of reading processes; 0: only this one (default: one for each core)",
    )
    add_force(parser, _OTHERS)
    parser.set_defaults(run=_check)


def _add_show(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "show",
        help="write labelled pictures for inspection",
        description=(
            "Write pictures beside their labels, with class names and a legend, and a contact sheet"
            " of all."
        ),
        epilog=SHOW_EXAMPLES,
        formatter_class=HelpFormatter,
    )
    _add_sources(parser)
    parser.add_argument("--split", metavar="NAME", help="the split to show (default: all)")
    parser.add_argument(
        "--number", type=int, default=8, metavar="N", help="the number of pictures of each split"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the seed of the random choice of pictures"
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="the output folder (default: the dataset's name with _shown, here)",
    )
    add_force(parser, _OTHERS)
    parser.set_defaults(run=_show)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset",
        nargs="+",
        metavar="DATASET",
        help="a descriptor (YAML file), or names of registered datasets",
    )
    add_register(
        parser, "Python files that register datasets, which are imported first, as in train_net.py"
    )


# Each function imports its modules when it runs, so that --help and errors appear at once.
def _init(args: argparse.Namespace) -> int:
    from clipmask.cli.data.init import init

    return init(**_options(args))


def _convert(args: argparse.Namespace) -> int:
    from clipmask.cli.data.convert import convert

    return convert(**_options(args))


def _check(args: argparse.Namespace) -> int:
    from clipmask.cli.data.check import check

    return check(_subject(args), **_options(args))


def _show(args: argparse.Namespace) -> int:
    from clipmask.cli.data.show import show

    return show(_subject(args), **_options(args))


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of one command, which are the arguments of its function."""
    others = ("command", "run", "dataset", "register")
    return {name: value for name, value in vars(args).items() if name not in others}


def _subject(args: argparse.Namespace):  # type: ignore[no-untyped-def]  # the type would import torch
    from clipmask.cli.register import register_file
    from clipmask.curation.checking.subject import open_subject

    for path in args.register:
        register_file(path)
    return open_subject(args.dataset)


def _run(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


# also 1: findings that would stop a training, or pictures that can't be shown
main = command(_run)


if __name__ == "__main__":
    sys.exit(main())
