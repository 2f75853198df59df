"""Prompt templates: the sentences in which CLIP reads a class name.

CLIP was trained on captions: its embedding of a name in a sentence is better than that of the name
alone ("Learning Transferable Visual Models From Natural Language Supervision", Sec. 3.1.4).
"""

from __future__ import annotations

from collections.abc import Sequence

from clipmask.errors import UserError

SINGLE = ("a photo of a {}.",)
STREET = (
    "a photo of a {}.",
    "a {} in a street scene.",
    "a {} seen from a car.",
    "a dashcam picture of a {}.",
    "there is a {} on the road ahead.",
    "a city street with a {}.",
    "a {} at the side of the road.",
    "a blurry photo of a {} in traffic.",
    "a {} in the distance.",
    "a close-up of a {} in the street.",
    "a {} on a cloudy day.",
    "a {} at dusk.",
)


def templates(prompts: Sequence[str]) -> tuple[str, ...]:
    """Returns the templates of ``MODEL.CLIP.PROMPTS``.

    Args:
        prompts: ``["single"]``, ``["street"]``, ``["imagenet"]`` (the 80 that open_clip ships) or
            the user's own, each with one ``{}`` where the name goes.

    Returns:
        Templates with ``{}``.

    Raises:
        UserError: the list is empty, the set is unknown, or a template has no ``{}`` or several.
    """
    if list(prompts) == ["single"]:
        return SINGLE
    if list(prompts) == ["street"]:
        return STREET
    if list(prompts) == ["imagenet"]:
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    wrong = [prompt for prompt in prompts if prompt.count("{}") != 1]
    if not prompts or wrong:
        named = f"; wrong: {', '.join(map(repr, wrong))}" if wrong else ""
        raise UserError(
            f"MODEL.CLIP.PROMPTS {list(prompts)}: use [single], [street], [imagenet], or templates"
            f" that each hold one {{}} for the class name{named}",
            key="MODEL.CLIP.PROMPTS",
        )
    return tuple(prompts)
