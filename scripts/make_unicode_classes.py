"""Write the classes of characters that word rules tell apart: ``csrc/engine/unicode_classes.c``.

    python scripts/make_unicode_classes.py

The classes are asked of the regular expressions of the ``tokenizers`` library (Oniguruma), which
cut words for Python: both tokenizers agree on every character. With tokenizers 0.23 they are those
of Unicode 16.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tokenizers import Regex, pre_tokenizers

UNICODE_VERSION: Final = "16.0"
TABLE: Final = Path(__file__).parents[1] / "edgekit" / "csrc" / "engine" / "unicode_classes.c"
CHARACTERS: Final = 0x110000
CLASSES: Final = {
    r"\s": 1,
    r"\p{N}": 2,
    r"\p{L}": 4,
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]": 8,
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]": 16,
}
"""Bits of ``unicode_classes.h``: SPACE, NUMBER, LETTER, UPPER, LOWER."""
_CHUNK = 4096
_IN_A_LINE = 8

_HEAD = """\
/* Made by scripts/make_unicode_classes.py: Unicode {version}. */
#include "unicode_classes.h"

#include <stddef.h>

/* First character of a range << 8 | its classes; a range ends where the next one begins. */
static const uint32_t RANGES[] = {{
"""
_TAIL = """\
};

uint8_t ek_unicode_classes(uint32_t character) {
    size_t low = 0;
    for (size_t high = sizeof RANGES / sizeof RANGES[0]; high - low > 1;) {
        size_t middle = low + (high - low) / 2;
        int is_before = RANGES[middle] >> 8 <= character;
        low = is_before ? middle : low;
        high = is_before ? high : middle;
    }
    return (uint8_t)(RANGES[low] & 0xFF);
}
"""


def classes() -> list[int]:
    """Return the classes of every character, by its number."""
    found = [0] * CHARACTERS
    numbers = [n for n in range(CHARACTERS) if not 0xD800 <= n <= 0xDFFF]
    for expression, bit in CLASSES.items():
        without = pre_tokenizers.Split(Regex(expression), "removed")
        for start in range(0, len(numbers), _CHUNK):
            text = "".join(map(chr, numbers[start : start + _CHUNK]))
            kept = set("".join(part for part, _ in without.pre_tokenize_str(text)))
            for letter in set(text) - kept:
                found[ord(letter)] |= bit
    return found


def table(found: list[int]) -> str:
    """Return the C file."""
    starts = [n for n in range(CHARACTERS) if n == 0 or found[n] != found[n - 1]]
    words = [f"0x{n << 8 | found[n]:08X}," for n in starts]
    rows = [words[at : at + _IN_A_LINE] for at in range(0, len(words), _IN_A_LINE)]
    lines = "".join(f"    {' '.join(row)}\n" for row in rows)
    return _HEAD.format(version=UNICODE_VERSION) + lines + _TAIL


def main() -> None:
    """Write the table."""
    TABLE.write_text(table(classes()))


if __name__ == "__main__":
    main()
