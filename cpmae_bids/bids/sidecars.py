"""Read sidecars by the BIDS inheritance principle."""

import contextlib
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from cpmae_bids.bids.jsontext import read_json
from cpmae_bids.bids.patterns import split_name
from cpmae_bids.exceptions import InputError


def read_sidecars(bids_dir: Path, source: str) -> dict[str, Any]:
    """Read all fields of an image's sidecars by the BIDS inheritance principle; empty without any.

    A JSON file applies if it lies in the folder of the image (`source`, relative to `bids_dir`) or in one
    above it, has the same suffix, and all its entities are those of the image. Nearer and more specific files
    win. Raises InputError if one that applies cannot be read or is not a JSON object.
    """
    metadata: dict[str, Any] = {}
    for path in applicable_files(bids_dir, source, split_name(source)[1], '.json'):
        metadata |= read_json_object(path)
    return metadata


def applicable_files(bids_dir: Path, source: str, suffix: str, extension: str) -> list[Path]:
    """Return the files that apply to `source` by the BIDS inheritance principle, the nearest last."""
    entities, _, _ = split_name(source)
    found = []
    for parent in reversed(PurePosixPath(source).parents):
        folder = bids_dir / parent
        try:
            named = _named(folder, folder.stat().st_mtime_ns, suffix, extension)
        except OSError:
            continue
        found += [path for own_entities, path in named if own_entities.items() <= entities.items()]
    return found


@lru_cache(maxsize=256)
def _named(folder: Path, mtime_ns: int, suffix: str, extension: str) -> list[tuple[dict[str, str], Path]]:
    """Files of a folder with that suffix and extension, and their entities; the more specific come last."""
    named = []
    for path in folder.glob(f'*{suffix}{extension}'):
        with contextlib.suppress(InputError):
            entities, *ending = split_name(path.name)
            if ending == [suffix, extension]:
                named.append((entities, path))
    return sorted(named, key=lambda file: (len(file[0]), file[1]))


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a sidecar; InputError if it cannot be read or is not a JSON object."""
    try:
        content = read_json(path)
    except OSError as err:
        raise InputError(f'{path}: the sidecar cannot be read ({err.strerror}); fetch or remove it') from err
    except ValueError as err:
        raise InputError(f'{path}: the sidecar is not valid JSON ({err}); fix or remove it') from err
    if not isinstance(content, dict):
        raise InputError(f'{path}: the sidecar is not a JSON object; fix or remove it')
    return content
