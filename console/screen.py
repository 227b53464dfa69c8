"""Tables on the terminal; plain aligned text where the output is a file or a pipe, for logs and bug reports."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"ok": "green", "yes": "green", "warn": "yellow", "no": "dim", "fail": "bold red"}


def show_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` under `columns`. Cells are text, never markup."""
    if not console.is_terminal:
        _show_plain(console, columns, rows)
        return
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console.print(table)


def _show_plain(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The last column is not padded, so that no line is longer than it must be."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
        console.out("  ".join([*cells, row[-1]]), highlight=False)
