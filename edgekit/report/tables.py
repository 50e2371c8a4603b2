"""HTML tables of a report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    marks: Sequence[str] = (),
) -> str:
    """Return a table; cells are text and are escaped.

    Parameters
    ----------
    headings : sequence of str
    rows : sequence of sequences of str
    numeric : sequence of int
        Columns that are set to the right.
    marks : sequence of str
        A style class for each row, or nothing at all.
    """

    def cell(tag: str, column: int, text: str) -> str:
        kind = ' class="n"' if column in numeric else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", column, text) for column, text in enumerate(headings))
    body = []
    for index, row in enumerate(rows):
        mark = f' class="{marks[index]}"' if index < len(marks) and marks[index] else ""
        cells = "".join(cell("td", column, text) for column, text in enumerate(row))
        body.append(f"<tr{mark}>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
