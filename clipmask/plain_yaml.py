"""YAML that users give: whatever is wrong with it is one kind of error."""

from __future__ import annotations

from typing import Any

import yaml

MOST_VALUES = 1_000_000  # that a text may stand for with its aliases


def load_yaml(text: str) -> Any:
    """Reads plain values, lists and mappings.

    Args:
        text: YAML.

    Returns:
        What it holds.

    Raises:
        yaml.YAMLError: it is no YAML; it is nested too deeply to be read; a value is none of its
            kind, such as the date 2001-99-99; a list holds itself; or aliases of aliases stand for
            more than ``MOST_VALUES`` values, which would fill the memory once they are printed.
    """
    try:
        content = yaml.safe_load(text)
        _count(content, {})
    except RecursionError as error:
        raise yaml.YAMLError("is nested too deeply") from error
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise yaml.YAMLError(f"holds a value that can't be read ({error})") from error
    return content


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the values of nested mappings by their dotted keys; nothing where ``content`` is no
    mapping.
    """
    values: dict[str, Any] = {}
    if isinstance(content, dict):
        for key, value in content.items():
            inner = flat(value, f"{prefix}{key}.")
            values.update(inner or {f"{prefix}{key}": value})
    return values


def _count(value: Any, counts: dict[int, int]) -> int:
    """How many values this one is, those of an alias as often as it stands there.

    Args:
        value: from the text.
        counts: of lists and mappings, by their identity; 0 while one is being counted.
    """
    if not isinstance(value, list | dict):
        return 1
    known = counts.get(id(value))
    if known == 0:
        raise yaml.YAMLError("holds a list or mapping that holds itself")
    if known is None:
        counts[id(value)] = 0
        items = value.values() if isinstance(value, dict) else value
        known = counts[id(value)] = 1 + sum(_count(item, counts) for item in items)
    if known > MOST_VALUES:
        raise yaml.YAMLError(f"its aliases stand for more than {MOST_VALUES:,} values")
    return known
