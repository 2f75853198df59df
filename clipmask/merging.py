"""How values get into a config: from a file's content, from ``KEY VALUE`` pairs, and back into a
text.

Keys of Detectron2 that ClipMask does not read are in a config where Detectron2 is in use, for the
builders of its backbones read them. Without it they are refused by name, unless they have
Detectron2's default, which says nothing.
"""

from __future__ import annotations

import copy
import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from fvcore.common.config import CfgNode

from clipmask.builtin.unread_keys import OF_BACKBONES, UNREAD, why_unread
from clipmask.errors import UserError, listed
from clipmask.plain_yaml import load_yaml

# yacs' answers to what does not fit
MERGE_ERRORS = (KeyError, ValueError, AssertionError, TypeError, AttributeError)


def leaf_keys(cfg: CfgNode, prefix: str = "") -> dict[str, Any]:
    """Returns every key of ``cfg`` that holds a value, dotted, with the value."""
    leaves: dict[str, Any] = {}
    for name, value in cfg.items():
        if isinstance(value, CfgNode) and not value.is_new_allowed():
            leaves.update(leaf_keys(value, f"{prefix}{name}."))
        else:
            leaves[prefix + name] = value
    return leaves


def put_leaf(cfg: CfgNode, key: str, value: Any) -> None:
    """Sets a dotted key, whether it is there or not; sections that are missing are made."""
    *sections, name = key.split(".")
    for section in sections:
        if section not in cfg:
            cfg[section] = CfgNode()
        cfg = cfg[section]
    cfg[name] = value


def merge_content(cfg: CfgNode, content: Mapping[str, Any]) -> None:
    """Puts what a file holds over a config.

    Args:
        cfg: changed in place.
        content: nested, as YAML gives it.

    Raises:
        UserError: it has keys of Detectron2 that ClipMask does not read, at other values than
            Detectron2's defaults, and ``cfg`` is without them.
        Exception: one of ``MERGE_ERRORS``, where a key does not exist or a value has another type.
    """
    content = copy.deepcopy(dict(content))
    refused = [
        key
        for key in UNREAD
        if not _has(cfg, key) and _take_out(content, key.split("."), UNREAD[key])
    ]
    if refused:
        parts = [f"{key} ({why_unread(key)})" for key in refused]
        raise UserError(
            f"keys of Detectron2 that ClipMask does not read: {listed(parts, 4, '; ')}. Take them"
            " out of the file; those of Detectron2's backbones count where Detectron2 is installed"
        )
    cfg.merge_from_other_cfg(CfgNode(content))


def _has(cfg: CfgNode, key: str) -> bool:
    part: Any = cfg
    for step in key.split("."):
        if not isinstance(part, dict) or step not in part:
            return False
        part = part[step]
    return True


def _take_out(content: Any, steps: list[str], default: Any) -> bool:
    """Removes a key that has its default, and sections that are empty then; tells whether it has
    another value.
    """
    if not isinstance(content, dict) or steps[0] not in content:
        return False
    if len(steps) > 1:
        differs = _take_out(content[steps[0]], steps[1:], default)
        if content[steps[0]] == {}:
            del content[steps[0]]
        return differs
    if _plain(CfgNode._decode_cfg_value(content[steps[0]])) != _plain(default):
        return True
    del content[steps[0]]
    return False


def _plain(value: Any) -> Any:
    """Lists for tuples, which YAML does not have."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def changed_unread_keys(cfg: CfgNode) -> list[str]:
    """Returns the keys of Detectron2 in a config that change nothing, though they have other values
    than by default.
    """
    leaves = leaf_keys(cfg)
    return [
        key
        for key, default in UNREAD.items()
        if key in leaves
        and not key.startswith(OF_BACKBONES)
        and _plain(leaves[key]) != _plain(default)
    ]


def without_defaults(cfg: CfgNode, defaults: Mapping[str, Any]) -> CfgNode:
    """Returns a copy of a config in which each dotted key of ``defaults`` that has this value there
    is left out.
    """
    content = cfg.clone()
    content.defrost()
    for key, default in defaults.items():
        _take_out(content, key.split("."), default)
    return content


def merge_opts(cfg: CfgNode, opts: Sequence[str]) -> None:
    """Puts ``KEY VALUE`` pairs over a config.

    Args:
        cfg: changed in place.
        opts: keys and values in turn, as on the command line.

    Raises:
        UserError: a key does not exist (the nearest is named), a value has another type than the
            default, or a key has no value.
    """
    if len(opts) % 2:
        raise UserError(
            f"config overrides come as KEY VALUE pairs; {opts[-1]!r} has no value (all:"
            f" {' '.join(opts)})"
        )
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        try:
            if not _merge_open(cfg, key, value):
                cfg.merge_from_list([key, _as_default(cfg, key, value)])
        except UserError:
            raise
        except MERGE_ERRORS as error:
            raise UserError(f"override {key} {value}: {explain(error, cfg, key)}") from error


def _merge_open(cfg: CfgNode, key: str, value: str) -> bool:
    """Merges a pair whose key is, or lies in, a dictionary of free keys (TIMM_ARGS); tells whether
    it is one.

    Raises:
        UserError: the key is such a dictionary, and the value is none.
    """
    open_keys = [name for name, item in leaf_keys(cfg).items() if isinstance(item, CfgNode)]
    name = next((name for name in open_keys if key == name or key.startswith(f"{name}.")), None)
    if name is None:
        return False
    node: CfgNode = functools.reduce(lambda part, step: part[step], name.split("."), cfg)
    decoded = CfgNode._decode_cfg_value(value)  # as Python writes it, else the text itself
    try:
        if isinstance(decoded, str) and decoded.startswith("{"):
            decoded = load_yaml(decoded)
    except yaml.YAMLError as error:
        raise UserError(
            f"override {key} {value}: is not a dictionary as in YAML or Python"
        ) from error
    if key != name:
        node[key.removeprefix(f"{name}.")] = decoded
    elif isinstance(decoded, dict):
        node.update(decoded)
    else:
        raise UserError(
            f"override {key} {value}: the key takes a dictionary, such as \"{{'pad_type':"
            f" 'same'}}\"; one argument is set with {key}.pad_type same"
        )
    return True


def _as_default(cfg: CfgNode, key: str, value: str) -> str:
    """Writes a whole number as the float, and a bare name as the list or tuple, that the key
    takes.
    """
    default = leaf_keys(cfg).get(key)
    if isinstance(default, float) and re.fullmatch(r"[+-]?\d+", value):
        return f"{value}.0"
    if isinstance(default, list | tuple) and re.fullmatch(r"[A-Za-z_][\w./-]*", value):
        return repr(type(default)([value]))
    return value


def explain(error: Exception, cfg: CfgNode, key: str | None = None) -> str:
    """Words yacs' complaint, with the nearest existing keys where a key is unknown."""
    message = str(error.args[0]) if error.args else str(error)
    if message.startswith("Type mismatch") and key in leaf_keys(cfg):
        default = leaf_keys(cfg)[key]
        return f"the key takes a {type(default).__name__}, such as {default!r} ({message})"
    if not message.startswith("Non-existent"):
        return message
    wrong = key or message.split(":")[-1].strip()
    if reason := why_unread(wrong):
        return f"{wrong} is a key of Detectron2 that ClipMask does not read ({reason})"
    near = difflib.get_close_matches(wrong.upper(), list(leaf_keys(cfg)), n=3, cutoff=0.5)
    section = ".".join(wrong.split(".")[:2])
    if section != wrong and not _has(cfg, section):
        hint = (
            f", nor a section {section}: where it belongs to a project of Detectron2's family,"
            " --register a file that holds or imports the project's add_..._config"
        )
    elif near:
        hint = f"; did you mean {' or '.join(near)}?"
    else:
        hint = "; clipmask/config.py lists all keys"
    return f"there is no config key {wrong}{hint}"
