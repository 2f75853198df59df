"""Prompt templates."""

from __future__ import annotations

import pytest

from clipmask.errors import UserError
from clipmask.text.prompts import templates


@pytest.mark.parametrize(("name", "count"), [("single", 1), ("street", 12), ("imagenet", 80)])
def test_sets(name: str, count: int) -> None:
    found = templates([name])
    assert len(set(found)) == count
    assert all(template.count("{}") == 1 for template in found)


def test_own_templates() -> None:
    assert templates(["an X-ray of a {}"]) == ("an X-ray of a {}",)


@pytest.mark.parametrize("wrong", [[], ["imagnet"], ["a photo of a {}", "a photo"], ["{} and {}"]])
def test_wrong_templates(wrong: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        templates(wrong)
    assert caught.value.key == "MODEL.CLIP.PROMPTS"
