"""``clipmask-embed``: writes CLIP's embeddings of class names, for machines without CLIP."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from clipmask.cli import command
from clipmask.cli.arguments import add_force, add_register, new_parser
from clipmask.cli.output import output_file, write_output
from clipmask.cli.register import register_file
from clipmask.cli.vocabulary import read_vocabulary
from clipmask.config import get_cfg
from clipmask.data.catalog import dataset_vocabulary
from clipmask.data.descriptor_datasets import register_descriptor
from clipmask.errors import UserError, listed
from clipmask.text.sources import ClipSource, FileSource
from clipmask.vocabulary import Term, texts_of, union

EXAMPLES = """\
examples:
  %(prog)s --dataset camvid_sem_seg_train --output camvid.npz
  %(prog)s --names "road,sky;heavens,zebra crossing" --output mine.npz
  %(prog)s --names names.txt --model ViT-L-14 --prompts "a photo of a {}." "a drone's view of a {}." --output mine.npz
  %(prog)s --dataset streets.yaml --output streets.npz
  %(prog)s --dataset town.yaml roads.yaml --from camvid.npz cityscapes.npz --output both.npz
  %(prog)s --dataset fields_train --register my_data.py --pretrained CLIP.pt --output fields.npz

To use the file, train with MODEL.CLIP.EMBEDDINGS camvid.npz, or run the demo with --embeddings mine.npz. Rows are found
by name. "a;b" are synonyms, whose embeddings are averaged.
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line; its defaults are those of the config."""
    clip = get_cfg().MODEL.CLIP
    parser = new_parser("Write CLIP's text embeddings of class names to a file.", EXAMPLES)
    names = parser.add_mutually_exclusive_group(required=True)
    names.add_argument(
        "--dataset",
        nargs="+",
        metavar="NAME",
        help=(
            "registered datasets, or descriptors (YAML files), whose class names and prompts are"
            " used"
        ),
    )
    names.add_argument(
        "--names",
        metavar="NAMES",
        help='"road,sky,zebra crossing", or a .txt with one name per line',
    )
    add_register(parser, "Python files to import first, which register the dataset")
    parser.add_argument(
        "--model", default=clip.NAME, help="open_clip's model, or hf-hub:owner/name"
    )
    parser.add_argument(
        "--pretrained", default=clip.PRETRAINED, help="open_clip's tag, or a local file of weights"
    )
    parser.add_argument(
        "--prompts", nargs="+", default=clip.PROMPTS, metavar="PROMPT",
        help="single, street or imagenet, or templates with {} for the name",
    )  # fmt: skip
    parser.add_argument(
        "--from",
        nargs="+",
        dest="files",
        default=[],
        metavar="FILE.npz",
        help=(
            "take the row of each name from the first of these files that has it, without CLIP; all"
            " must be of one model"
        ),
    )
    parser.add_argument("--output", required=True, metavar="FILE.npz", help="the file to write")
    add_force(parser)
    return parser


def _run(argv: Sequence[str] | None) -> None:
    args = build_parser().parse_args(argv)
    output = output_file(args.output, [".npz"], args.force)
    for path in args.register:
        register_file(path)
    if args.dataset is None:
        terms = [Term.parse(name) for name in dict.fromkeys(read_vocabulary(args.names, "--names"))]
    else:
        terms = list(union(dataset_vocabulary(_registered(dataset)) for dataset in args.dataset))
    names = texts_of(terms)
    if args.files:
        _join(output, terms, args.files)
        return
    source = ClipSource(args.model, args.pretrained, args.prompts)
    embeddings = torch.stack(
        list(tqdm(source.rows(terms), total=len(terms), unit="name", disable=None, leave=False))
    )
    content: dict[str, Any] = {
        "names": np.array(names),
        "embeddings": embeddings.numpy(),
        "model": np.array(args.model),
        "pretrained": np.array(args.pretrained),
        "prompts": np.array(source.templates),
    }
    write_output(output, lambda file: np.savez(file, **content))
    print(
        f"{output}: {len(names)} names ({listed(names)}), {source.width} "
        f"numbers each, from {args.model} ({args.pretrained}) in {len(source.templates)} prompt(s)"
    )


def _join(output: Path, terms: Sequence[Term], files: Sequence[str]) -> None:
    """Writes the rows of some names from several files of embeddings, with the name of the file."""
    sources = [FileSource(file) for file in files]
    widths = {source.width for source in sources}
    if len(widths) > 1:
        raise UserError(
            f"--from {' '.join(files)}: the rows have {sorted(widths)} numbers, so they are not of"
            " one CLIP model"
        )
    rows, origins = [], []
    for term in terms:
        found = [source for source in sources if source.has(term)]
        if not found:
            raise UserError(
                f"--from {' '.join(files)}: no file has a row for {term.text!r} or an alias of it"
            )
        rows.append(found[0].encode([term])[0])
        origins.append(found[0].path.name)
    names, embeddings = np.array(texts_of(terms)), torch.stack(rows).numpy()
    write_output(
        output,
        lambda file: np.savez(file, names=names, embeddings=embeddings, origins=np.array(origins)),
    )
    print(
        f"{output}: {len(rows)} names, {widths.pop()} numbers each, from"
        f" {', '.join(dict.fromkeys(origins))}"
    )


def _registered(dataset: str) -> str:
    """Returns the name of a registered dataset; for a descriptor, that of its first split."""
    if not dataset.endswith((".yaml", ".yml")):
        return dataset
    return next(iter(register_descriptor(dataset).values()))


main = command(_run)


if __name__ == "__main__":
    sys.exit(main())
