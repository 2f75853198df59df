"""``clipmask``: all commands as verbs of one; ``python -m clipmask`` is the same.

A verb's module is imported when it is called, so that ``clipmask env`` speaks where the others
can't be imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from clipmask import __version__
from clipmask.errors import did_you_mean
from clipmask.program import set_verb


class Verb(NamedTuple):
    """A verb: the module whose ``main`` it calls, what it is for, and the words that it puts before
    the user's.
    """

    module: str
    purpose: str
    words: tuple[str, ...] = ()


VERBS = {
    "train": Verb(
        "clipmask.cli.train", "train a model, on a registered dataset or on pictures of your own"
    ),
    "eval": Verb("clipmask.cli.train", "score a model on a dataset", ("--eval-only",)),
    "predict": Verb(
        "clipmask.cli.demo.command", "segment pictures, folders, films or the webcam's picture"
    ),
    "data": Verb("clipmask.cli.data.command", "describe, check and show pictures of your own"),
    "embed": Verb("clipmask.cli.embed", "write CLIP's embeddings of class names to a file"),
    "pack": Verb("clipmask.cli.pack", "pack a checkpoint into one small file for others"),
    "export": Verb(
        "clipmask.cli.export", "write a network for ONNX Runtime, OpenVINO or torch.export"
    ),
    "serve": Verb(
        "clipmask.cli.serve.command", "serve a web page on which people segment pictures and films"
    ),
    "env": Verb("clipmask.env", "print what a bug report needs to say about this machine"),
}


def usage() -> str:
    """Returns what ``clipmask --help`` prints."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{verb.purpose}" for name, verb in VERBS.items())
    return (
        "usage: clipmask [-h] [--version] COMMAND ...\n\n"
        "Semantic segmentation by mask classification, guided by CLIP.\n\n"
        f"commands:\n{verbs}\n\n"
        "examples:\n"
        "  clipmask predict --input street.jpg\n"
        "  clipmask train --config-file toy.yaml\n"
        "  clipmask eval --config-file toy.yaml MODEL.WEIGHTS output/toy/model_final.pth\n\n"
        '"clipmask COMMAND --help" says more about each.'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb that the command line names.

    Args:
        argv: arguments without the program's name; None takes ``sys.argv``. More than one process
            needs None, as for ``clipmask.cli.train.main``.

    Returns:
        The verb's exit status; 0 for ``--help`` and ``--version``; 2 for an unknown verb, or none.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(usage(), file=sys.stderr)
        return 2
    if words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] == "--version":
        print(f"clipmask {__version__}")
        return 0
    name = words[0]
    if name not in VERBS:
        hint = did_you_mean(name, VERBS, f"there are {', '.join(VERBS)}")
        print(f"error: clipmask {name}: there is no such command; {hint}", file=sys.stderr)
        return 2
    verb = VERBS[name]
    set_verb(name)
    status: int = importlib.import_module(verb.module).main([*verb.words, *words[1:]])
    return status


if __name__ == "__main__":
    sys.exit(main())
