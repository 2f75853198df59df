"""Names as the text sources take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clipmask.vocabulary import Term


def terms(
    names: Iterable[str],
    aliases: Mapping[str, Sequence[str]] | None = None,
    prompts: Mapping[str, Sequence[str]] | None = None,
) -> list[Term]:
    """Class names, ``a;b`` for synonyms, with the aliases and prompts of some."""
    return [
        Term.parse(name, (aliases or {}).get(name, ()), (prompts or {}).get(name, ()))
        for name in names
    ]


def texts(*words: str, aliases: Sequence[str] = ()) -> list[Term]:
    """Texts of images, each taken as it is written."""
    return [Term((word,), tuple(aliases)) for word in words]
