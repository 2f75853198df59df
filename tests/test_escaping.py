"""What others call their files can't steer a terminal."""

from __future__ import annotations

from clipmask.escaping import escaped


def test_control_characters_are_written_out_and_words_of_any_script_stay() -> None:
    assert escaped("a\x1b[2Jb\nc\r\x9b\u2028\u202e") == r"a\x1b[2Jb\nc\r\x9b\u2028\u202e"
    for text in ("Straße — été", "дорога", "道路", "சாலை", "👨\u200d👩\u200d👧", "a\u00a0b"):
        assert escaped(text) == text


def test_what_is_kept_stays() -> None:
    assert escaped("a\n\tb\x07", keep="\n\t") == "a\n\tb\\x07"
