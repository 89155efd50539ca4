"""Which scans there are to work on."""

import hashlib
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from cpmae_bids.bids.atomic import crc32_of
from cpmae_bids.bids.brain_masks import with_brain_masks
from cpmae_bids.bids.jsontext import read_json
from cpmae_bids.bids.metadata import read_sidecars, shareable_metadata
from cpmae_bids.bids.output_folder import NAME_MAX
from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS, output_kinds, output_path, split_name
from cpmae_bids.config import T1W, T1W_SUFFIXES, RunConfig
from cpmae_bids.deid.images.pointers import command_to_fetch
from cpmae_bids.exceptions import InputError, NothingToDoError, UsageError

logger = logging.getLogger(__name__)

# Folders that hold no raw T1w; skipping them is most of the speed of indexing a large dataset.
_IGNORED = (
    re.compile(r'^/(code|derivatives|models|phenotype|sourcedata|stimuli)(/|$)'),
    re.compile(r'/\.'),
    re.compile(r'/(beh|dwi|eeg|fmap|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet)(/|$)'),
)
# Other parts of a complex-valued image are no scan of their own.
_PARTS_WITHOUT_CONTRAST = ('phase', 'real', 'imag')


@dataclass(frozen=True)
class Scan:
    """One image of the input dataset that is to be de-identified: a T1w scan, or another contrast.

    Parameters
    ----------
    path : Path
        The image.
    relative_path : str
        Its path relative to the dataset, with forward slashes.
    subject : str
        Label without ``sub-``.
    session : str or None
        Label without ``ses-``.
    entities : dict
        Entities of the file name, by their short names (``sub``, ``ses``, ``run``), in its order.
    metadata : dict
        Those fields of its sidecar, with inheritance, that may be shared.
    seed : int
        Seed of this scan, below 2**31; the same for all scans of a subject.
    problem : str
        Why the scan cannot be worked on, or nothing.
    crc32 : str
        CRC-32 of the image when work on it began; nothing before that.
    reference : Scan or None
        The T1w scan of the subject around whose brain the head is generated; None if it is this one, or
        there is to be no head.
    t1w : Scan or None
        The T1w scan by which the brain of another contrast is found; None for T1w scans.
    first_echo : Scan or None
        The first echo of the same acquisition, whose brain is that of this one.
    brain_mask : Path or None
        Its brain as another pipeline found it, to be used in place of our own.
    brain_mask_crc32 : str
        CRC-32 of that file. It tells no more than the mask of the preserved region, which is published.
    """

    path: Path
    relative_path: str
    subject: str
    session: str | None
    entities: dict[str, str] = field(hash=False)
    metadata: dict[str, Any] = field(hash=False, repr=False)
    seed: int
    problem: str = ''
    crc32: str = field(default='', compare=False)  # a scan is the same before and after
    reference: 'Scan | None' = field(default=None, hash=False, repr=False)
    t1w: 'Scan | None' = field(default=None, hash=False, repr=False)
    first_echo: 'Scan | None' = field(default=None, hash=False, repr=False)
    brain_mask: Path | None = field(default=None, hash=False, repr=False)
    brain_mask_crc32: str = field(default='', hash=False, repr=False)

    @property
    def suffix(self) -> str:
        """The contrast, by the last part of the name: ``T1w``."""
        return self.name.rpartition('_')[2]

    @property
    def given_brain_masks(self) -> dict[str, str]:
        """Checksums of the brain masks that were given, of this scan and those it is made from, by path."""
        scans = [scan for scan in (self, self.first_echo, self.reference, self.t1w) if scan is not None]
        return {scan.relative_path: scan.brain_mask_crc32 for scan in scans if scan.brain_mask_crc32}

    @property
    def acquisition(self) -> tuple[Any, ...]:
        """What all echoes of an acquisition have in common: the name without the echo."""
        return self.suffix, *(item for item in self.entities.items() if item[0] != 'echo')

    @property
    def reference_path(self) -> str:
        """Path, relative to the dataset, of the scan around whose brain the head is generated."""
        return (self.reference or self).relative_path

    @property
    def noise_seed(self) -> int:
        """Seed of the noise, which no two scans of a subject share: it would not average out."""
        return scan_seed(self.seed, self.relative_path)

    @property
    def name(self) -> str:
        """File name without extension; it is unique in the dataset: ``sub-01_ses-a_T1w``."""
        return self.path.name.partition('.')[0]

    @property
    def node_name(self) -> str:
        """`name` as an identifier, for workflows and nodes: ``sub_01_ses_a_T1w``."""
        return re.sub(r'\W', '_', self.name)


def scan_seed(seed: int, subject: str) -> int:
    """Derive the seed of a subject's scans from that of the dataset, or that of a scan's noise from theirs.

    Sessions and runs of a subject share that of the head, so that their generated heads differ only as far
    as their brains do.

    Returns
    -------
    int
        Between 0 and 2**31 - 1, which every random generator accepts and JSON keeps exactly.
    """
    digest = hashlib.sha256(f'{seed}:{subject}'.encode()).digest()
    return int.from_bytes(digest[:4], 'big') >> 1


def list_subjects(bids_dir: Path) -> list[str]:
    """Return the labels of the subject folders of a dataset, sorted."""
    return _labels(bids_dir, 'sub-')


def _labels(folder: Path, prefix: str) -> list[str]:
    return sorted(p.name.removeprefix(prefix) for p in folder.glob(f'{prefix}*') if p.is_dir())


def select_subjects(config: RunConfig) -> list[str]:
    """Return the subjects of a run.

    Raises
    ------
    UsageError
        If subjects or sessions are asked for that do not exist; the message names all of them.
    NothingToDoError
        If the dataset has no subjects.
    """
    subjects = list_subjects(config.bids_dir)
    if not subjects:
        raise NothingToDoError(f'{config.bids_dir}: no sub-* folder; give the root of a BIDS dataset')
    if config.participant_label:
        _refuse_missing('participant', 'sub-', config.participant_label, subjects)
    if config.exclude_participant_label:
        _refuse_missing('exclude-participant', 'sub-', config.exclude_participant_label, subjects)
    subjects = [label for label in subjects if config.includes_subject(label)]
    if not subjects:
        raise NothingToDoError(f'{config.bids_dir}: all subjects are excluded; check the labels')
    if config.session_label:
        sessions = {ses for sub in subjects for ses in _labels(config.bids_dir / f'sub-{sub}', 'ses-')}
        _refuse_missing('session', 'ses-', config.session_label, sessions)
    return subjects


def _refuse_missing(option: str, prefix: str, asked: Iterable[str], present: Iterable[str]) -> None:
    missing = [prefix + label for label in dict.fromkeys(asked) if label not in set(present)]
    if missing:
        raise UsageError(f'not in the dataset: {", ".join(missing)}; check --{option}-label')


def read_filters(path: Path | None, suffix: str = T1W) -> dict[str, Any]:
    """Read the query terms for scans of a contrast from a BIDS filter file, as fMRIPrep does.

    Those of ``t1w`` are about `T1W_SUFFIXES` unless they name one of them.

    Parameters
    ----------
    path : Path, optional
        JSON file ``{"t1w": {"acquisition": "mprage", "run": null}}``. null means that the entity must
        be absent, "*" that it must be there. Other keys than the suffix are ignored.
    suffix : str

    Raises
    ------
    UsageError
        If the file is not of that form, or asks for another suffix or datatype.
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

    suffixes = T1W_SUFFIXES if suffix == T1W else (suffix,)
    for name, possible in (('suffix', suffixes), ('datatype', ('anat',))):
        asked = filters.get(name, possible[0])
        items_asked = asked if isinstance(asked, list) else [asked]
        if not items_asked or any(item not in possible for item in items_asked):
            known = ' or '.join(possible)
            raise UsageError(f'{path}: only {name} {known} can be de-identified, not {asked!r}')
    special = {None: Query.NONE, '*': Query.ANY}
    return {key: special.get(value, value) if not isinstance(value, list) else value for key, value in items}


def collect_scans(config: RunConfig) -> list[Scan]:
    """Find every T1w scan, and every one of further contrasts, of every session and run that a run asks for.

    Parameters
    ----------
    config : RunConfig
        With a seed.

    Returns
    -------
    list of Scan
        Sorted by path. Scans that cannot be worked on are among them and say so in `Scan.problem`.

    Raises
    ------
    UsageError
        If subjects, sessions or filters name what does not exist.
    NothingToDoError
        If no scan matches.
    InputError
        If two scans would have the same outputs.
    """
    if config.seed is None:
        raise ValueError('the seed must be settled before scans are collected')
    subjects = select_subjects(config)
    try:
        found = _query(config, subjects)
    except UnicodeEncodeError as err:  # neither pybids nor JSON has room for such a name
        raise InputError(f'{err.object!a}: a name that is no UTF-8 text; rename the file') from err
    scans = [scan for path in sorted(found) if (scan := _as_scan(path, config, config.seed)) is not None]
    t1ws = [scan for scan in scans if scan.suffix in T1W_SUFFIXES]
    t1ws.sort(key=lambda scan: scan.suffix != T1W)  # a UNIT1 is a reference where there is nothing else
    t1ws = [_with_checked_mask(scan) for scan in with_brain_masks(t1ws, config.derivatives)]
    t1ws = _with_first_echoes(_with_references(t1ws, config))
    scans = [*t1ws, *(_with_t1w(scan, t1ws, config) for scan in scans if scan.suffix not in T1W_SUFFIXES)]
    scans.sort(key=lambda scan: scan.path)
    if config.session_label:
        scans = [scan for scan in scans if scan.session in config.session_label]
    if not scans:
        raise NothingToDoError(f'{config.bids_dir}: no T1w scan matches; check the labels and filters')
    for subject in sorted(set(subjects) - {scan.subject for scan in t1ws}):
        logger.warning('sub-%s: no T1w scan', subject)
    _refuse_collisions(scans)
    _refuse_long_names(scans)
    return scans


def _query(config: RunConfig, subjects: list[str]) -> list[Path]:
    """Ask pybids for the paths of the images of some subjects, in all sessions."""
    from bids.layout import BIDSLayout

    from cpmae_bids.bids.index import Indexer

    wanted = '|'.join(re.escape(label) for label in subjects)
    other_subjects = re.compile(rf'^/sub-(?!({wanted})(/|$))')
    indexer = Indexer(validate=False, index_metadata=False, ignore=[*_IGNORED, other_subjects])
    layout = BIDSLayout(config.bids_dir, validate=False, indexer=indexer)
    found: list[str] = []
    for suffix in (T1W, *config.also):
        terms: dict[str, Any] = {'suffix': list(T1W_SUFFIXES) if suffix == T1W else suffix}
        terms |= read_filters(config.bids_filter_file, suffix)
        terms |= {'datatype': 'anat', 'extension': list(IMAGE_EXTENSIONS)}
        if 'subject' not in terms:
            terms['subject'] = subjects
        try:
            found += layout.get(return_type='filename', **terms)
        except ValueError as err:
            raise UsageError(f'{config.bids_filter_file}: pybids refuses the query ({err})') from err
    return [Path(path) for path in found]


def _as_scan(path: Path, config: RunConfig, seed: int) -> Scan | None:
    """Describe one image, or return None if it is not a scan of its own."""
    relative = path.relative_to(config.bids_dir).as_posix()
    try:
        entities, _, _ = split_name(relative)
    except InputError as err:  # such as one that .bidsignore names, or the validator would have said so
        logger.warning('%s, left out', err)
        return None
    subject = entities.get('sub')
    if subject is None or not relative.startswith(f'sub-{subject}/'):  # a copy, or a dataset within
        logger.warning('%s: not in the folder of its subject, left out', relative)
        return None
    if 'desc' in entities or 'space' in entities or entities.get('part') in _PARTS_WITHOUT_CONTRAST:
        logger.warning('%s: not a raw magnitude image, left out', relative)
        return None
    if 'inv' in entities:
        logger.warning('%s: one inversion of several, left out', relative)
        return None
    metadata, problem = {}, unreadable(path)
    try:
        metadata = shareable_metadata(read_sidecars(config.bids_dir, relative))
    except InputError as err:
        problem = problem or str(err)
    return Scan(
        path=path,
        relative_path=relative,
        subject=subject,
        session=entities.get('ses'),
        entities=entities,
        metadata=metadata,
        seed=scan_seed(seed, subject),
        problem=problem,
    )


def _with_checked_mask(scan: Scan) -> Scan:
    """Note what the brain mask of a scan is, or that it cannot be read."""
    if scan.brain_mask is None:
        return scan
    if reason := unreadable(scan.brain_mask):
        reason = f'its brain mask {scan.brain_mask.name} cannot be used: {reason}'
        return replace(scan, problem=scan.problem or reason)
    return replace(scan, brain_mask_crc32=crc32_of(scan.brain_mask))


def _with_references(scans: list[Scan], config: RunConfig) -> list[Scan]:
    """Name the reference of each scan: the first one of the subject or session, whichever are worked on now.

    The labels of a run say what part of the work it does, and may not change what comes out of it. A filter
    file does: it says which scans of the dataset there are to work on at all.
    """
    sessionwise = config.subject_anatomical_reference == 'sessionwise'
    first: dict[tuple[str, str | None], Scan] = {}
    result = []
    for scan in scans:
        reference = first.setdefault((scan.subject, scan.session if sessionwise else None), scan)
        if reference is scan:
            result.append(scan)
            continue
        problem = scan.problem
        if not problem and (reason := unreadable(reference.path)):
            problem = without_reference(reference, reason)
        result.append(replace(scan, reference=reference, problem=problem))
    return result


def _with_first_echoes(scans: list[Scan]) -> list[Scan]:
    """Name the first echo of each acquisition: its echoes show one brain in one place."""
    first: dict[tuple[Any, ...], Scan] = {}
    result = []
    for scan in scans:
        if 'echo' in scan.entities and not scan.problem:
            echo = first.setdefault(scan.acquisition, scan)
            if echo is not scan and scan.brain_mask is None and _have_one_grid(echo.path, scan.path):
                scan = replace(scan, first_echo=echo)
        result.append(scan)
    return result


def _have_one_grid(first: Path, second: Path) -> bool:
    import nibabel as nib
    import numpy as np

    try:
        one, other = (cast(nib.Nifti1Image, nib.load(path)) for path in (first, second))
        return one.shape == other.shape and np.allclose(one.affine, other.affine, atol=1e-3)
    except Exception:  # readers raise all kinds of errors on damaged files, which the first step tells
        return False


def _with_t1w(scan: Scan, t1ws: list[Scan], config: RunConfig) -> Scan:
    """Name the T1w scan by which the brain of another contrast is found: of its session, or the first one.

    Its reference gives the head as well, if there is to be one.
    """
    of_subject = [t1w for t1w in t1ws if t1w.subject == scan.subject]
    if not of_subject:
        problem = 'the subject has no T1w scan to find its brain by; leave it out by a --bids-filter-file'
        return replace(scan, problem=scan.problem or problem)
    of_session = [t1w for t1w in of_subject if t1w.session == scan.session]
    t1w = next((t1w for t1w in of_session if not t1w.problem), of_subject[0])
    problem = scan.problem
    head = t1w.reference or t1w if config.also_fill == 'head' else None
    for needed in filter(None, (t1w, head)):
        if not problem and (reason := needed.problem or unreadable(needed.path)):
            problem = without_t1w(needed, reason)
    return replace(scan, reference=head, t1w=t1w, problem=problem)


def without_t1w(t1w: Scan, reason: str) -> str:
    """Say why another contrast fails with the T1w scan of its brain or head, and what can be done."""
    return (
        f'its brain and head are those of {t1w.relative_path}, which cannot be used ({reason}); mend that '
        'scan, or leave it out by a --bids-filter-file'
    )


def without_reference(reference: Scan, reason: str) -> str:
    """Say why a scan fails with the reference scan of its subject, and what can be done."""
    return (
        f'its head is generated around the brain of {reference.relative_path}, which cannot be used '
        f'({reason}); mend that scan, or leave it out by a --bids-filter-file'
    )


def unreadable(path: Path) -> str:
    """Say why a file's content cannot be read, or nothing."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        return 'this is no file; check what it is'
    try:
        with path.open('rb') as file:
            start = file.read(200)
        if command := command_to_fetch(start):
            return f'a pointer to content that is not here; get it by "{command}"'
        return '' if start else 'the file is empty; get it again'
    except FileNotFoundError:
        if not path.is_symlink():
            return 'there is no such file; check its path'
        return 'a link to content that is not here; get it, for example by "datalad get"'
    except OSError as err:
        return f'the file cannot be read ({err.strerror}); check its permissions'


def _refuse_long_names(scans: list[Scan]) -> None:
    """Refuse scans whose outputs no file system takes, before any work."""
    for scan in scans:
        names = [output_path(scan.relative_path, kind).name for kind in output_kinds()]
        if (excess := max(len(os.fsencode(name)) for name in names) - NAME_MAX) > 0:
            raise InputError(
                f'{scan.relative_path}: the names of its outputs would be {excess} bytes too long; shorten '
                'its labels, or leave it out by a --bids-filter-file'
            )


def _refuse_collisions(scans: list[Scan]) -> None:
    sources: dict[str, str] = {}
    for scan in scans:
        # workflows, records and reports go by the name alone
        for key in {scan.name, str(output_path(scan.relative_path, 'refaced'))}:
            if key in sources:
                raise InputError(
                    f'{sources[key]} and {scan.relative_path} are the same scan by their names; remove one'
                )
            sources[key] = scan.relative_path
