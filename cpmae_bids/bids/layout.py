"""The scans of a dataset that a run is about, and how they depend on each other."""

import logging
import os
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

from cpmae_bids.bids.atomic import crc32_of
from cpmae_bids.bids.brain_masks import with_brain_masks
from cpmae_bids.bids.metadata import shareable_metadata
from cpmae_bids.bids.output_folder import NAME_MAX
from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS, output_kinds, output_path, split_name
from cpmae_bids.bids.scan import Scan, by_subject, scan_seed
from cpmae_bids.bids.selection import read_filters, select_subjects
from cpmae_bids.bids.sidecars import read_sidecars
from cpmae_bids.config import T1W, T1W_SUFFIXES, RunConfig
from cpmae_bids.exceptions import InputError, NothingToDoError, UsageError
from cpmae_bids.runtime.content import unreadable

logger = logging.getLogger(__name__)

# Folders that hold no raw T1w; skipping them is most of the speed of indexing a large dataset.
_IGNORED = (
    re.compile(r'^/(code|derivatives|models|phenotype|sourcedata|stimuli)(/|$)'),
    re.compile(r'/\.'),
    re.compile(r'/(beh|dwi|eeg|fmap|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet)(/|$)'),
)
# Other parts of a complex-valued image are no scan of their own.
_PARTS_WITHOUT_CONTRAST = ('phase', 'real', 'imag')


def collect_scans(config: RunConfig) -> list[Scan]:
    """Find the T1w scans and other contrasts that a run asks for, by path (``run-2`` before ``run-10``).

    Scans that cannot be processed are among them and say so in `Scan.problem`. Raises UsageError if subjects,
    sessions or filters name what does not exist, NothingToDoError if no scan matches, InputError if a name is
    not UTF-8 text.
    """
    if config.seed is None:
        raise ValueError('the seed must be settled before scans are collected')
    subjects = select_subjects(config)
    try:
        found = _query(config, subjects)
    except UnicodeEncodeError as err:  # neither pybids nor JSON has room for such a name
        raise InputError(f'{err.object!a}: a name that is not UTF-8 text; rename the file') from err
    found.sort(key=_in_order)
    scans = [scan for path in found if (scan := _as_scan(path, config, config.seed)) is not None]
    scans = _one_of_each_name(scans)
    t1ws = [scan for scan in scans if scan.suffix in T1W_SUFFIXES]
    t1ws.sort(key=lambda scan: scan.suffix != T1W)  # a UNIT1 is a reference where there is nothing else
    t1ws = [_with_checked_mask(scan) for scan in with_brain_masks(t1ws, config.derivatives)]
    t1ws = _with_first_echoes(_with_references(t1ws, config))
    t1ws_of = by_subject(t1ws)
    others = [scan for scan in scans if scan.suffix not in T1W_SUFFIXES]
    scans = [*t1ws, *(_with_t1w(scan, t1ws_of.get(scan.subject, []), config) for scan in others)]
    scans.sort(key=lambda scan: _in_order(scan.path))
    if config.session_label:
        scans = [scan for scan in scans if scan.session in config.session_label]
    if not scans:
        raise NothingToDoError(f'{config.bids_dir}: no T1w scan matches; check the labels and filters')
    for subject in sorted(set(subjects) - t1ws_of.keys()):
        logger.warning('sub-%s: no T1w scan', subject)
    for subject in subjects:
        _warn_of_other_formats(config.bids_dir, subject)
    return scans


def _query(config: RunConfig, subjects: list[str]) -> list[Path]:
    """Ask pybids for the paths of the images of some subjects, in all sessions."""
    from bids.layout import BIDSLayout

    from cpmae_bids.bids.index import Indexer

    wanted = '|'.join(re.escape(label) for label in subjects)
    other_subjects = re.compile(rf'^/sub-(?!({wanted})(/|$))')
    indexer = Indexer(validate=False, index_metadata=False, ignore=[*_IGNORED, other_subjects])
    try:
        layout = BIDSLayout(config.bids_dir, validate=False, indexer=indexer)
    except (AttributeError, TypeError) as err:  # of a derivative dataset
        description = config.bids_dir / 'dataset_description.json'
        raise InputError(f'{description}: GeneratedBy is no list of objects ({err}); fix it') from err
    found: list[str] = []
    for suffix in (T1W, *config.also):
        terms: dict[str, Any] = {'suffix': list(T1W_SUFFIXES) if suffix == T1W else suffix}
        terms |= read_filters(config.bids_filter_file, suffix)
        terms['datatype'] = 'anat'
        terms.setdefault('extension', list(IMAGE_EXTENSIONS))
        terms.setdefault('subject', subjects)
        try:
            found += layout.get(return_type='filename', **terms)
        except (ValueError, TypeError) as err:
            raise UsageError(f'{config.bids_filter_file}: pybids rejects the query ({err}); fix it') from err
    return [Path(path) for path in found]


def _in_order(path: Path) -> list[str]:
    """Key that sorts paths with numbers as such: the last of ten echoes is no reference for the others."""
    return [part.zfill(12) if part.isdigit() else part for part in re.split(r'([0-9]+)', str(path))]


def _as_scan(path: Path, config: RunConfig, seed: int) -> Scan | None:
    """Describe one image, or return None if it is not a scan of its own."""
    relative = path.relative_to(config.bids_dir).as_posix()
    try:
        entities, _, _ = split_name(relative)
    except InputError as err:  # such as one that .bidsignore names, or the validator would have said so
        logger.warning('%s, left out', err)
        return None
    subject = entities.get('sub')
    *folders, _ = PurePosixPath(relative).parts
    session = folders[1:2] if len(folders) == 3 and folders[1].startswith('ses-') else []
    if subject is None or folders != [f'sub-{subject}', *session, 'anat']:  # a copy, or a dataset within
        logger.warning('%s: not in the folder of its subject, left out', relative)
        return None
    if 'desc' in entities or 'space' in entities or entities.get('part') in _PARTS_WITHOUT_CONTRAST:
        logger.warning('%s: not a raw magnitude image, left out', relative)
        return None
    if 'inv' in entities:
        logger.warning('%s: one inversion of several, left out', relative)
        return None
    metadata, problem = {}, unreadable(path) or _too_long(relative)
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
    try:
        if not (reason := unreadable(scan.brain_mask)):
            return replace(scan, brain_mask_crc32=crc32_of(scan.brain_mask))
    except OSError as err:
        reason = f'{err.strerror}; check the disk'
    reason = f'its brain mask {scan.brain_mask.name} cannot be used: {reason}'
    return replace(scan, problem=scan.problem or reason)


def _with_references(scans: list[Scan], config: RunConfig) -> list[Scan]:
    """Set the reference of each scan; labels of a run do not change it, a filter file does."""
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
    """Set the first echo of each acquisition: its echoes show one brain in one place."""
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
    except Exception:  # readers raise all kinds of errors on damaged files, which the first step reports
        return False


def _with_t1w(scan: Scan, of_subject: list[Scan], config: RunConfig) -> Scan:
    """Set the T1w that locates the brain of another contrast, and whose reference gives the head."""
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
        f'its brain and head are those of {t1w.relative_path}, which cannot be used ({reason}); fix that '
        'scan, or leave it out by a --bids-filter-file'
    )


def without_reference(reference: Scan, reason: str) -> str:
    """Say why a scan fails with the reference scan of its subject, and what can be done."""
    return (
        f'its head is generated around the brain of {reference.relative_path}, which cannot be used '
        f'({reason}); fix that scan, or leave it out by a --bids-filter-file'
    )


def _too_long(relative: str) -> str:
    """Say that no file system takes the outputs of a scan, or nothing."""
    names = (output_path(relative, kind).name for kind in output_kinds())
    excess = max(len(os.fsencode(name)) for name in names) - NAME_MAX
    return (
        f'the names of its outputs would be {excess} bytes too long; shorten its labels' if excess > 0 else ''
    )


def _warn_of_other_formats(bids_dir: Path, subject: str) -> None:
    """Name the files of a subject that seem to be T1w scans, but in no format that is read."""
    folder = bids_dir / f'sub-{subject}'
    for path in sorted(path for where in ('', 'ses-*/') for path in folder.glob(f'{where}anat/sub-*_T1w.*')):
        relative = path.relative_to(bids_dir).as_posix()
        if path.name.lower().endswith(IMAGE_EXTENSIONS):
            if not path.name.endswith(IMAGE_EXTENSIONS):
                logger.warning('%s: left out; write its extension in small letters', relative)
        elif not path.name.endswith('.json'):
            logger.warning('%s: not a single-file NIfTI, left out; convert it to .nii.gz', relative)


def _one_of_each_name(scans: list[Scan]) -> list[Scan]:
    """Keep one of the scans that would have the same outputs, with that as its problem."""
    kept: dict[str, Scan] = {}
    for scan in scans:  # workflows, records and reports go by the name alone
        name = output_path(scan.relative_path, 'refaced').name
        first = kept.setdefault(name, scan)
        if first is not scan:
            problem = f'{scan.relative_path} is the same scan by its name; remove one'
            kept[name] = replace(first, problem=problem)
    return list(kept.values())
