"""Writes docs/configuration.md, the reference of all config keys, from clipmask/config.py.

python -m clipmask_tools.write_config_reference            writes the page
python -m clipmask_tools.write_config_reference --check    exit status 1 if the page is out of
                                                           date
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tokenize
from pathlib import Path

from fvcore.common.config import CfgNode

from clipmask import config
from clipmask.builtin.unread_keys import UNREAD, why_unread
from clipmask.config import leaf_keys
from clipmask.ranges import RANGES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
HEAD = """\
# Configuration reference

Every key, its default and its meaning, written from [`clipmask/config.py`](../clipmask/config.py) by
`python -m clipmask_tools.write_config_reference`. A config file (YAML) sets some of them over the file that its
`_BASE_` names; on a command line they follow as `KEY VALUE`, over the file. A key that does not exist, or a value of
another type, is an error that names the nearest. A key whose default is a dictionary takes free keys, one by one
(`MODEL.BACKBONE.TIMM_ARGS.pad_type same`) or together (`MODEL.BACKBONE.TIMM_ARGS "{'pad_type': 'same'}"`).

Keys marked D2 are Detectron2's too, with its name, type and default. `configs/base.yaml`, from which all configs of
ClipMask start, sets other values for some of them (the third column). A value that its key does not allow (the fourth
column) is an error before a run begins.
"""  # noqa: E501


UNREAD_HEAD = """
## Keys of Detectron2 that ClipMask does not read

A file may hold them at Detectron2's defaults, without effect. If Detectron2 is not installed, other values are an error
that names them. If it is installed, backbones read their own keys, and a warning names all others.

| key | default | why |
|---|---|---|
"""  # noqa: E501


def described_keys() -> dict[str, tuple[str, bool]]:
    """Returns the comment of each key, and whether the key is ClipMask's own, in source order.

    Raises:
        ValueError: a key has no comment.
    """
    comments: dict[int, str] = {}
    source = Path(config.__file__).read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ")
    known, found, alias, own = leaf_keys(config.own_cfg()), {}, "", False
    lines = source.splitlines()
    for number, line in enumerate(lines, start=1):
        own = own or line.startswith("def add_clipmask_config")
        if match := re.fullmatch(r"\s+cfg\.([A-Z0-9_.]+) = node", line):
            alias = match[1]
        match = re.match(r"\s+(cfg|node)\.([A-Z0-9_.]+) = ", line)
        if match is None:
            continue
        key = match[2] if match[1] == "cfg" else f"{alias}.{match[2]}"
        if key in known:
            comment = comments.get(number) or _comment_above(lines, number)
            if not comment:
                raise ValueError(f"{config.__file__}, line {number}: {key} has no comment")
            found[key] = (comment, own)
    return found


def _comment_above(lines: list[str], number: int) -> str:
    """Returns the comment directly above line ``number`` (from 1) as one line."""
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.lstrip().startswith("#"):
            break
        found.insert(0, line.strip().lstrip("# "))
    return " ".join(found)


def page() -> str:
    """Returns the text of the page.

    Raises:
        ValueError: a key has no comment, or the line of a key can't be parsed.
    """
    defaults, described = leaf_keys(config.own_cfg()), described_keys()
    if missing := defaults.keys() - described.keys():
        raise ValueError(f"{config.__file__}: not understood: {', '.join(sorted(missing))}")
    base = leaf_keys(config.load_cfg(ROOT / "configs" / "base.yaml"))
    sections: dict[str, list[str]] = {}
    for key in sorted(described, key=_section):  # stable, so keys keep their order in a section
        meaning, own = described[key]
        section = _section(key)[1]
        name = f"`{key}`" if own else f"`{key}` D2"
        changed = _shown(base[key]) if base[key] != defaults[key] else ""
        takes = str(RANGES.get(key, ""))
        row = (
            f"| {name} | {_shown(defaults[key])} | {changed} | {takes} |"
            f" {meaning.replace('|', '&#124;')} |"
        )
        sections.setdefault(section, []).append(row)
    tables = (
        f"\n## {section}\n\n| key | default | base.yaml | must be | meaning"
        " |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
        for section, rows in sections.items()
    )
    return HEAD + "".join(tables) + _unread()


def _unread() -> str:
    """Returns the section of the keys that ClipMask does not read."""
    rows = [
        f"| `{key}` D2 | {_shown(default)} | {why_unread(key)} |" for key, default in UNREAD.items()
    ]
    return UNREAD_HEAD + "\n".join(rows) + "\n"


def _section(key: str) -> tuple[int, str]:
    """Returns the position of a key's section on the page, and its title."""
    parts = key.split(".")[:-1]
    order = ("MODEL", "DATASETS", "DATALOADER", "INPUT", "SOLVER", "TEST")
    return (order.index(parts[0]), ".".join(parts[:2])) if parts else (len(order), "The run")


def _shown(value: object) -> str:
    return f"`{dict(value) if isinstance(value, CfgNode) else value!r}`" if value != "" else '`""`'


def main() -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="only check whether the page is up to date"
    )
    args = parser.parse_args()
    text = page()
    if not args.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(
        f"{PAGE} is out of date; run python -m clipmask_tools.write_config_reference",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
