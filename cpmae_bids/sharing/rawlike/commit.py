"""Bring one unit of the raw-like dataset up to date, safely at any interruption."""

from pathlib import Path, PurePosixPath

from cpmae_bids._version import __version__
from cpmae_bids.bids.atomic import sync
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.sharing.inventory import told_rows
from cpmae_bids.sharing.rawlike.manifest import read_manifest, write_manifest
from cpmae_bids.sharing.rawlike.unit import Unit


def is_table_of_folder(path: str) -> bool:
    """Whether a table names other files or folders of the dataset, and is wrong once those are not there."""
    return path.endswith(('_scans.tsv', '_sessions.tsv')) or path == 'participants.tsv'


def commit(dataset: Path, unit: Unit) -> None:
    """Move the files of a unit to their places, and remove what an earlier run wrote and this one does not.

    Tables that name files go first and come last, old images go before new ones come, and each image comes
    after its sidecar: wherever a run is killed, the dataset holds final files only, and a manifest that
    vouches for no other bytes. Files that no manifest names are not touched.
    """
    texts, staged = unit.texts, unit.staged
    old = read_manifest(dataset, unit.name)
    new = {
        'version': __version__,
        'files': {**unit.files, **{path: {} for path in texts}},
        'refaced': unit.refaced,
        'left_out': told_rows(unit.left_out),
    }
    stale = [path for path in old['files'] if path not in new['files'] and is_inside(path)]
    changed = {path: text for path, text in texts.items() if not holds(dataset / path, text)}
    if not stale and not changed and not staged and old == new:
        return
    folder, temporaries = OutputFolder(dataset), dict(staged)
    try:
        for path, text in changed.items():
            folder.remove_temporaries(path)
            temporaries[path] = folder.stage(path, text)
        going = [*stale, *staged, *(path for path in changed if is_table_of_folder(path))]
        if stale or staged:
            going += [path for path in old['files'] if is_table_of_folder(path)]
        # Tables first; then, backwards, an image before its sidecar.
        for path in sorted(set(going), key=lambda path: (is_table_of_folder(path), path), reverse=True):
            folder.remove(path)
        write_manifest(dataset, unit.name, new)
        for path in texts:
            if path in temporaries or (dataset / path).exists():
                continue
            # A table that was in the way and says the same as before
            temporaries[path] = folder.stage(path, texts[path])
        for path in sorted(temporaries, key=lambda path: (is_table_of_folder(path), path)):
            folder.move(temporaries[path], path)
        for parent in {(dataset / path).parent for path in temporaries}:
            sync(parent)
    finally:
        for temporary in temporaries.values():
            folder.remove(temporary)
    for path in stale:
        folder.remove_temporaries(path)


def is_inside(path: str) -> bool:
    """Whether a path that anybody may have written, in a manifest or a sidecar, stays in the dataset."""
    return not PurePosixPath(path).is_absolute() and '..' not in PurePosixPath(path).parts


def holds(path: Path, content: bytes) -> bool:
    """Whether a file, and no link, has that content."""
    try:
        return not path.is_symlink() and path.read_bytes() == content
    except OSError:
        return False
