"""Stop words end a stream at the same place however it is cut into pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.runtime.language.stop_words import StopFilter

letters = st.text("abX", max_size=30)
words = st.lists(st.text("abX", min_size=1, max_size=4), max_size=3)


@given(st.lists(st.text("abX", max_size=4), max_size=12), words)
def test_the_text_ends_before_the_first_stop_word(pieces: list[str], stops: list[str]) -> None:
    filter_ = StopFilter(stops)
    shown = "".join(filter_.feed(piece) for piece in pieces) + filter_.finish()
    whole = "".join(pieces)
    ends = [whole.find(word) for word in stops if word in whole]
    # A later word that begins earlier may be found first only where both end in one piece.
    if not ends:
        assert shown == whole
        assert filter_.matched == ""
    else:
        assert whole.startswith(shown)
        assert whole[len(shown) :].startswith(filter_.matched)
        assert filter_.matched in stops


@given(letters, st.text("abX", min_size=1, max_size=4))
def test_pieces_of_one_letter_give_what_the_whole_text_gives(text: str, stop: str) -> None:
    one, many = StopFilter([stop]), StopFilter([stop])
    at_once = one.feed(text) + one.finish()
    by_letter = "".join(many.feed(letter) for letter in text) + many.finish()
    assert at_once == by_letter == text.split(stop)[0]


@given(letters, words)
def test_nothing_is_held_back_that_begins_no_stop_word(text: str, stops: list[str]) -> None:
    filter_ = StopFilter(stops)
    shown = filter_.feed(text)
    held = text[len(shown) :]
    if not filter_.matched:
        assert held == "" or any(word.startswith(held) for word in stops)
