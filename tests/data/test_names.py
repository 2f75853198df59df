"""What a class with synonyms is called."""

from clipmask.data.names import shown_names


def test_the_first_synonym_is_shown_unless_two_would_be_alike() -> None:
    assert shown_names(["sky", "car; automobile", "zebra crossing"]) == ["sky", "car", "zebra crossing"]
    assert shown_names(["car;bus", "car;tram", "sky;air"]) == ["car;bus", "car;tram", "sky"]
