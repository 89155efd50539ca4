"""Tables and texts as people leave them: BIDS wants UTF-8 and tabs, spreadsheets write other things.

Pandas would change cells (``01``, ``NA``, ``1.50``), and takes longer to load than the tables take to read.
"""

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime.content import unreadable

logger = logging.getLogger(__name__)
NOT_THERE = 'n/a'
MAX_BYTES = 2**26  # largest text that is read
_SEPARATORS = (',', ';')
_QUOTED = re.compile(r'"[^"\t]*"(\t"[^"\t]*")*')


@cache
def warn_once(message: str) -> None:
    """Log a warning once, however often a file is read."""
    logger.warning('%s', message)


def read_text(path: Path) -> str:
    """Read a text in UTF-8, UTF-16 or UTF-32, else in Latin-1 with a warning.

    Raises InputError if it cannot be read, or is not a text file.
    """
    try:
        if (not path.is_file() or path.stat().st_size) and (reason := unreadable(path)):
            raise InputError(f'{path}: {reason}')
        with path.open('rb') as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise InputError(f'{path}: cannot be read ({err.strerror}); check its permissions') from err
    if len(content) > MAX_BYTES:
        raise InputError(f'{path}: too large for a table or a text; check what it is')
    encoding = json.detect_encoding(content)  # by a mark, or by the bytes of a Latin letter that are zero
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as err:
        if encoding != 'utf-8':
            raise InputError(f'{path}: damaged {encoding} text; save it as UTF-8') from err
        text = content.decode('cp1252', 'replace')
        warn_once(f'{path}: is not UTF-8 text, and was read as Latin-1; save it as UTF-8')
    if '\0' in text:
        raise InputError(f'{path}: is not a text file; check what it is')
    return text


@dataclass
class Table:
    """A table of BIDS: names of columns, and rows of as many cells."""

    columns: list[str]
    rows: list[list[str]]

    @classmethod
    def load(cls, path: Path) -> 'Table':
        """Read a file; InputError if it cannot be read, or is no table."""
        return cls.read(read_text(path), str(path))

    @classmethod
    def read(cls, text: str, name: str) -> 'Table':
        """Read values that are separated by tabs or, where the first line has none, by commas or semicolons.

        Shorter rows end with ``n/a``, and columns without a name are left out. Raises InputError if a row is
        longer than the first, or a column comes twice.
        """
        lines = [line for line in re.split(r'\r\n|\r|\n', text.removeprefix('\ufeff')) if line.strip()]
        columns, *rows = _split(lines, name) or [[]]
        columns = [column.strip() for column in columns]
        named = [number for number, column in enumerate(columns) if column]
        names = [columns[number] for number in named]
        if not names or len(set(names)) < len(names) or any(any(row[len(columns) :]) for row in rows):
            raise InputError(f'{name}: no table of tab-separated values; fix it')
        rows = [row + [NOT_THERE] * (len(columns) - len(row)) for row in rows]
        return cls(names, [[row[number] for number in named] for row in rows])

    def text(self) -> str:
        return ''.join('\t'.join(cells) + '\n' for cells in [self.columns, *self.rows])

    def column(self, name: str) -> list[str]:
        """Return the cells of a column; none if it is not there."""
        if name not in self.columns:
            return []
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def select(self, names: Sequence[str]) -> 'Table':
        """Return a table of those columns that are there, in that order."""
        names = [name for name in names if name in self.columns]
        rows = [list(row) for row in zip(*map(self.column, names), strict=True)]
        return Table(names, rows)

    def labelled(self, key: str, prefix: str) -> 'Table':
        """Return a table whose labels in one column all have their prefix: ``sub-01`` for ``01``."""
        if key not in self.columns:
            return self
        index = self.columns.index(key)
        rows = [[*row[:index], _label(row[index], prefix), *row[index + 1 :]] for row in self.rows]
        return Table(self.columns, rows)

    def only(self, keep: Callable[[dict[str, str]], bool]) -> 'Table':
        """Return a table of the rows that `keep` accepts."""
        return Table(
            self.columns, [row for row in self.rows if keep(dict(zip(self.columns, row, strict=True)))]
        )

    def mapped(self, each: Callable[[str, list[str]], list[str] | None]) -> 'tuple[Table, list[str]]':
        """Replace columns by what `each` returns, or drop them where it is None; also return their names."""
        cells = {name: each(name, self.column(name)) for name in self.columns}
        kept = {name: values for name, values in cells.items() if values is not None}
        rows = [list(row) for row in zip(*kept.values(), strict=True)]
        return Table(list(kept), rows), [name for name in self.columns if name not in kept]


def _split(lines: list[str], name: str) -> list[list[str]]:
    separator = max(_SEPARATORS, key=lines[0].count) if lines else ''
    if lines and _QUOTED.fullmatch(lines[0]):  # as R writes tables
        separator = '\t'
    elif not lines or '\t' in lines[0] or separator not in lines[0]:
        return [line.split('\t') for line in lines]
    else:
        warn_once(
            f'{name}: its columns are separated by {separator!r} instead of tabs, and were read like that'
        )
    try:
        return [
            [' '.join(cell.split()) for cell in row]
            for row in csv.reader(io.StringIO('\n'.join(lines)), delimiter=separator, skipinitialspace=True)
        ]
    except csv.Error as err:
        raise InputError(
            f'{name}: no table of values that are separated by {separator!r} ({err}); fix it'
        ) from err


def _label(cell: str, prefix: str) -> str:
    cell = cell.strip()
    return cell if not cell or cell == NOT_THERE or cell.startswith(prefix) else prefix + cell
