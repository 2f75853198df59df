"""Vocabularies: immutable, the same from metadata and back, one row for a name that several
share.
"""

from __future__ import annotations

import pickle

import pytest

from clipmask.errors import UserError
from clipmask.vocabulary import Term, Vocabulary, different, shown_names, union

METADATA = {
    "stuff_classes": ["road;street", "vehicles", "sky"],
    "stuff_colors": [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    "class_aliases": {"sky": ["heavens"], "car": ["automobile"]},
    "class_prompts": {"sky": ["a blue {}"]},
    "class_members": {"vehicles": ["car", "truck;lorry", "bus"]},
    "server_ids": [7, 26, 23],
}


def test_from_metadata_and_back() -> None:
    vocabulary = Vocabulary.from_metadata(METADATA)
    assert vocabulary.metadata() == METADATA
    assert Vocabulary.from_metadata(vocabulary.metadata()) == vocabulary
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary
    assert hash(pickle.loads(pickle.dumps(vocabulary))) == hash(vocabulary)


def test_names_terms_and_rows() -> None:
    vocabulary = Vocabulary.from_metadata(METADATA)
    assert vocabulary.names == ("road;street", "vehicles", "sky")
    assert vocabulary.shown == ("road", "vehicles", "sky")
    assert [term.text for term in vocabulary.terms] == [
        "road;street",
        "car",
        "truck;lorry",
        "bus",
        "sky",
    ]
    assert vocabulary.rows == ((0,), (1, 2, 3), (4,))
    assert vocabulary.terms[1].aliases == ("automobile",)
    assert vocabulary.terms[4] == Term(("sky",), ("heavens",), ("a blue {}",))


def test_a_name_that_two_share_is_one_row() -> None:
    fine = Vocabulary.from_metadata(
        {"stuff_classes": ["sky", "car"], "class_aliases": {"car": ["auto"]}}
    )
    terms = union([Vocabulary.from_metadata(METADATA), fine])
    assert [term.text for term in terms] == ["road;street", "car", "truck;lorry", "bus", "sky"]
    assert terms[1].aliases == ("automobile", "auto")


def test_lists_that_mean_the_same_are_one() -> None:
    first, second = (
        Vocabulary.from_metadata(METADATA),
        Vocabulary.from_metadata({**METADATA, "stuff_colors": None}),
    )
    other = Vocabulary.from_names(["road;street", "vehicles", "sky"])
    assert different([first, second, other, first]) == (first, other)


@pytest.mark.parametrize("names", [[], ["road", "road"], ["road", " ; "], "road", ["road", 3]])
def test_what_is_no_vocabulary(names: object) -> None:
    with pytest.raises(UserError):
        Vocabulary.from_names(names)  # type: ignore[arg-type]


def test_a_name_in_two_classes_is_refused() -> None:
    members = {"vehicles": ["car", "bus"]}
    with pytest.raises(UserError, match="'car' is a member of two classes"):
        Vocabulary.from_metadata({"stuff_classes": ["car", "vehicles"], "class_members": members})


def test_the_first_synonym_is_shown_unless_two_would_be_alike() -> None:
    assert shown_names(["sky", "car; automobile", "zebra crossing"]) == [
        "sky",
        "car",
        "zebra crossing",
    ]
    assert shown_names(["car;bus", "car;tram", "sky;air"]) == ["car;bus", "car;tram", "sky"]
