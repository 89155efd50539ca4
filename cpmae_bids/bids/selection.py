"""Select subjects and sessions, and read BIDS filter files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cpmae_bids.bids.jsontext import read_json
from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS
from cpmae_bids.config import T1W, T1W_SUFFIXES, RunConfig
from cpmae_bids.exceptions import NothingToDoError, UsageError


def list_subjects(bids_dir: Path) -> list[str]:
    """Return the labels of the subject folders of a dataset, sorted."""
    return _labels(bids_dir, 'sub-')


def _labels(folder: Path, prefix: str) -> list[str]:
    return sorted(p.name.removeprefix(prefix) for p in folder.glob(f'{prefix}*') if p.is_dir())


def select_subjects(config: RunConfig) -> list[str]:
    """Return the subjects of a run.

    Raises UsageError if subjects or sessions do not exist; the message names all of them. Raises
    NothingToDoError if the dataset has no subjects.
    """
    subjects = list_subjects(config.bids_dir)
    if not subjects:
        raise NothingToDoError(f'{config.bids_dir}: no sub-* folder; give the root of a BIDS dataset')
    if config.participant_label:
        _reject_missing('participant', 'sub-', config.participant_label, subjects)
    if config.exclude_participant_label:
        _reject_missing('exclude-participant', 'sub-', config.exclude_participant_label, subjects)
    subjects = [label for label in subjects if config.includes_subject(label)]
    if not subjects:
        raise NothingToDoError(f'{config.bids_dir}: all subjects are excluded; check the labels')
    if config.session_label:
        sessions = {ses for sub in subjects for ses in _labels(config.bids_dir / f'sub-{sub}', 'ses-')}
        _reject_missing('session', 'ses-', config.session_label, sessions)
    return subjects


def _reject_missing(option: str, prefix: str, asked: Iterable[str], present: Iterable[str]) -> None:
    known = set(present)
    missing = [prefix + label for label in dict.fromkeys(asked) if label not in known]
    if missing:
        raise UsageError(f'not in the dataset: {", ".join(missing)}; check --{option}-label')


def read_filters(path: Path | None, suffix: str = T1W) -> dict[str, Any]:
    """Read the query terms for scans of a contrast from a BIDS filter file, as fMRIPrep does.

    The file reads ``{"t1w": {"acquisition": "mprage", "run": null}}``: null or "Query.NONE" means that the
    entity is absent, "*" or "Query.ANY" that it is present. Terms of ``t1w`` apply to `T1W_SUFFIXES` unless
    they name one of them; other keys are ignored. Raises UsageError if the file is not of that form, or asks
    for another suffix or datatype.
    """
    if path is None:
        return {}
    try:
        everything = {key.lower(): value for key, value in read_json(path).items()}
        filters = everything.get(suffix.lower(), {})
        items = list(filters.items())
    except (OSError, ValueError, AttributeError) as err:
        raise UsageError(f'{path}: not a BIDS filter file ({err}); it must read {{"t1w": {{...}}}}') from err

    from bids.layout import Query

    for key, value in items:
        if not all(isinstance(v, str | int | None) for v in (value if isinstance(value, list) else [value])):
            raise UsageError(f'{path}: {key} must be a label, null, "*" or a list of labels, not {value!r}')
    suffixes = T1W_SUFFIXES if suffix == T1W else (suffix,)
    for name, possible in (('suffix', suffixes), ('datatype', ('anat',)), ('extension', IMAGE_EXTENSIONS)):
        asked = filters.get(name, possible[0])
        items_asked = asked if isinstance(asked, list) else [asked]
        if not items_asked or any(item not in possible for item in items_asked):
            known = ' or '.join(possible)
            raise UsageError(f'{path}: only {name} {known} can be de-identified, not {asked!r}')
    special: dict[Any, Query] = {f'Query.{name}': query for name, query in Query.__members__.items()}
    special |= {None: Query.NONE, '*': Query.ANY}

    def term(value: Any) -> Any:
        return [*map(term, value)] if isinstance(value, list) else special.get(value, value)

    return {key: term(value) for key, value in items}
