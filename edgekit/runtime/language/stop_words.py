"""Ends a stream of text at stop words, also where a word comes in several pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopFilter:
    """Lets text through as soon as it cannot be the beginning of a stop word any more.

    Parameters
    ----------
    words : sequence of str
        Empty ones are passed over.

    Attributes
    ----------
    matched : str
        The word that ended the stream; empty while it goes on.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(word for word in words if word)
        self._held = ""
        self.matched = ""

    def feed(self, text: str) -> str:
        """Take more text and return what may be shown; nothing after a stop word."""
        if self.matched:
            return ""
        self._held += text
        found = [(self._held.find(word), -len(word), word) for word in self._words]
        found = [entry for entry in found if entry[0] >= 0]
        if found:
            at, _, self.matched = min(found)
            shown, self._held = self._held[:at], ""
            return shown
        keep = self._longest_beginning()
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def finish(self) -> str:
        """Return what was held back when the stream ends without a stop word."""
        shown, self._held = self._held, ""
        return shown

    def _longest_beginning(self) -> int:
        """Length of the longest end of the held text that begins a stop word."""
        longest = 0
        for word in self._words:
            for length in range(min(len(word) - 1, len(self._held)), longest, -1):
                if self._held.endswith(word[:length]):
                    longest = length
                    break
        return longest
