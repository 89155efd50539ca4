"""Tables of scans and sessions: they name what is in the dataset, and nothing else."""

from collections.abc import Collection
from datetime import timedelta
from pathlib import Path, PurePosixPath

from cpmae_bids.bids.columns import column_of_persons, descriptions_of, left_behind
from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS
from cpmae_bids.bids.sidecars import read_sidecars
from cpmae_bids.bids.tsv import Table
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError
from cpmae_bids.sharing.inventory import DatasetFile
from cpmae_bids.sharing.rawlike.dates import shift_of, shifted
from cpmae_bids.sharing.rawlike.unit import Unit, sidecar_of


def place_folder_table(
    entry: DatasetFile,
    unit: Unit,
    entries: Collection[DatasetFile],
    dataset: Path,
    config: RunConfig,
    shift: timedelta | None,
) -> None:
    """Put a table of scans or sessions into a unit: rows of the files in it, columns that may be shared.

    All images and texts of the unit are in it already; `shift` is that of `shift_of_dates`. Raises InputError
    if the table cannot be read.
    """
    key = 'filename' if entry.path.endswith('_scans.tsv') else 'session_id'
    folder = str(PurePosixPath(entry.path).parent)
    table = Table.load(config.bids_dir / entry.path)
    if key not in table.columns:
        raise InputError(f'{entry.path}: has no column {key}; add it')
    if key == 'filename':
        table = _of_files(table, entry, unit, entries)
    else:
        table = table.labelled(key, 'ses-')
        sessions = {path.name for path in (config.bids_dir / folder).glob('ses-*/')}
        if missing := [label for label in table.column(key) if label not in sessions]:
            reason = f'rows of sessions that are not in the input ({len(missing)} of them)'
            unit.leave_out(entry, reason, False)
        sessions = {path.name for path in (dataset / folder).glob('ses-*/')}
        table = table.only(lambda row: row[key] in sessions)
    if not table.rows:
        return
    sidecar = read_sidecars(config.bids_dir, entry.path)

    def each(name: str, cells: list[str]) -> list[str] | None:
        if name == 'acq_time':
            if config.scan_dates == 'drop':
                return None
            return [shifted(cell, shift) for cell in cells]
        return column_of_persons(name, cells, key, sidecar.get(name))

    shared, left = table.mapped(each)
    if left:
        unit.leave_out(entry, left_behind(left, table, sidecar), False)
    unit.texts[entry.path] = shared.text().encode()
    if content := descriptions_of(shared.columns, sidecar):
        unit.texts[sidecar_of(entry.path)] = to_json(content).encode()


def _of_files(table: Table, entry: DatasetFile, unit: Unit, entries: Collection[DatasetFile]) -> Table:
    """Keep the rows of files that are in the dataset, under their names there; report all others."""
    folder, index = str(PurePosixPath(entry.path).parent), table.columns.index('filename')
    known = {_stem(other.path) for other in entries}
    rows: dict[str, list[str]] = {}
    missing = []
    for row in table.rows:
        name = row[index].strip().replace('\\', '/').removeprefix('./').removeprefix(f'{folder}/')
        path = f'{folder}/{name}'
        # Images that were compressed since, as de-identified ones are, or the other way round
        others = [_stem(path) + extension for extension in IMAGE_EXTENSIONS]
        for candidate in (path, *others):
            if candidate in unit.files or candidate in unit.texts:
                name = candidate.removeprefix(f'{folder}/')
                rows.setdefault(name, [*row[:index], name, *row[index + 1 :]])
                break
        else:
            missing += [name] if _stem(path) not in known else []
    if missing:
        unit.leave_out(entry, f'rows of files that are not in the input ({len(missing)} of them)', False)
    return Table(table.columns, list(rows.values()))


def shift_of_dates(label: str, entries: Collection[DatasetFile], config: RunConfig) -> timedelta | None:
    """By how much the dates of a subject move; those of all its sessions decide."""
    if config.seed is None:
        raise ValueError('the seed must be settled before dates are shifted')
    times: list[str] = []
    for entry in entries:
        if entry.role == 'folder-table':
            try:
                times += Table.load(config.bids_dir / entry.path).column('acq_time')
            except InputError:
                continue  # named where its turn comes
    return shift_of(config.seed, label, times)


def _stem(path: str) -> str:
    """A path without the extension of an image."""
    return next((path.removesuffix(end) for end in IMAGE_EXTENSIONS if path.endswith(end)), path)
