"""Classify every file of a dataset by its path, and say whether it may show a face.

The rules are an allow-list (``data/sharing.json``); anything else counts as something that may show a face.
Its words for suffixes say what an image shows; those of the BIDS schema name techniques.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS, split_name
from cpmae_bids.bids.tsv import Table
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime.packaged import packaged_json
from cpmae_bids.sharing.walk import files_below

_LABEL = re.compile(r'[0-9A-Za-z+]+')
_SUFFIX = re.compile(r'[0-9A-Za-z]+')
_PARTS_WITHOUT_CONTRAST = {'phase': 'phase', 'real': 'real part', 'imag': 'imaginary part'}
_TABLES = ('.tsv', '.tsv.gz')
_GRADIENTS = ('.bval', '.bvec')
# Recordings of these kinds show no face, but their headers hold names, dates and shapes of heads.
_RECORDINGS = ('eeg', 'ieeg', 'meg', 'nirs', 'motion', 'micr', 'mrs')
_TABLES_OF_FOLDERS = ('scans', 'sessions')
_UNIX_TEXTS = ('.txt', '.md', '.rst')
_ROOT_TEXTS_OF_BIDS = ('participants.tsv', 'participants.json', 'dataset_description.json')
_FOLDERS = {
    'sourcedata': 'sources, which may hold originals and DICOM files',
    'derivatives': 'derivatives, which may hold whole heads (FreeSurfer), surfaces and pictures of originals',
    'code': 'code, which may hold anything',
    'stimuli': 'stimuli, which are in no list of files that may be shared as they are',
    'models': 'models, which are in no list of files that may be shared as they are',
}
_MAY_SHOW = 'may show the face and was not de-identified'
_NOT_LISTED = 'is not on the list of files that may be shared as they are'


@dataclass(frozen=True)
class DatasetFile:
    """One file of a dataset, or one folder that is not looked into."""

    path: str  # relative to the dataset, with forward slashes
    # 'image' and 'table' may be shared once their headers are scrubbed; 'gradients' and 'sidecar' go with
    # them; a 'folder-table' is about scans or sessions; 'text' is for people; 'out' is all else
    role: str
    reason: str = ''  # why it is out
    may_show_face: bool = False  # never for files that are not out

    @property
    def told(self) -> str:
        """The path as far as BIDS names go: other names may be those of people, and lists are shared."""
        *folders, name = self.path.split('/')  # nothing, for a folder
        told = [*takewhile(_is_known_folder, folders)]
        if told == folders and (not name or _is_told(name)):
            return self.path
        return ''.join(f'{folder}/' for folder in told) or './'


def _is_known_folder(name: str) -> bool:
    prefix, dash, label = name.partition('-')
    if dash:
        return prefix in ('sub', 'ses') and _LABEL.fullmatch(label) is not None
    known = ('anat', 'pet', 'phenotype', *_RECORDINGS, *_FOLDERS, *packaged_json('sharing')['tables'])
    return name in known


def _is_told(name: str) -> bool:
    try:
        entities, suffix, _ = split_name(name)
    except InputError:
        return False
    if any(not _LABEL.fullmatch(label) for label in entities.values()):
        return False
    rules = packaged_json('sharing')
    known = {*rules['suffixes'], *_TABLES_OF_FOLDERS}.union(*rules['tables'].values())
    return ('sub' in entities and suffix in known) or name in (*rules['texts'], *_ROOT_TEXTS_OF_BIDS)


def list_files(bids_dir: Path, subjects: Collection[str] | None = None) -> list[DatasetFile]:
    """List the files of a dataset, or of some subjects, by path.

    Hidden files are left out. Folders beside those of subjects are one entry each.
    """
    found = []
    for path in sorted(bids_dir.iterdir()):
        name = path.name
        if name.startswith('.'):
            continue
        if name.startswith('sub-') and path.is_dir():
            if not _is_known_folder(name):
                reason = 'a folder of no BIDS name, which ' + _NOT_LISTED
                found.append(DatasetFile(f'{name}/', 'out', reason, True))
            elif subjects is None or name.removeprefix('sub-') in subjects:
                found += _of_subject(path, bids_dir)
        elif subjects is None:
            found += _beside_subjects(path)
    return found


def _of_subject(folder: Path, bids_dir: Path) -> list[DatasetFile]:
    closed = list[OSError]()
    files = [path for path in files_below(folder, _is_visible, closed.append) if _is_visible(path.name)]
    return [
        *(classify(path.relative_to(bids_dir).as_posix()) for path in files),
        *(_closed(Path(err.filename).relative_to(bids_dir).as_posix(), err) for err in closed),
    ]


def _closed(name: str, err: OSError) -> DatasetFile:
    return DatasetFile(f'{name}/', 'out', f'a folder that cannot be read ({err.strerror})', True)


def _beside_subjects(path: Path) -> list[DatasetFile]:
    """What lies in the root of a dataset beside its subjects."""
    name = path.name
    if path.is_dir():
        try:
            inside = sorted(path.iterdir())
        except OSError as err:
            return [_closed(name, err)]
        if name == 'phenotype':
            return [
                DatasetFile(f'{name}/{inner.name}', 'text')
                if inner.suffix in ('.tsv', '.json')
                else DatasetFile(
                    f'{name}/{inner.name}', 'out', f'a file of phenotype that {_NOT_LISTED}', True
                )
                for inner in inside
                if not inner.name.startswith('.')
            ]
        reason = _FOLDERS.get(name, f'a folder that {_NOT_LISTED}')
        return [DatasetFile(f'{name}/', 'out', reason, True)] if inside else []
    if name in packaged_json('sharing')['texts'] or name in _ROOT_TEXTS_OF_BIDS:
        return [DatasetFile(name, 'text')]
    if name.endswith(('.json', *_GRADIENTS)):  # the metadata of files below, read with those
        return [DatasetFile(name, 'sidecar')]
    if path.suffix in ('.tsv', *_UNIX_TEXTS):
        return [DatasetFile(name, 'out', f'a text that {_NOT_LISTED}')] if not _is_inherited(name) else []
    return [DatasetFile(name, 'out', f'a file that {_NOT_LISTED}', True)]


def _is_inherited(name: str) -> bool:
    try:
        return split_name(name)[1] in ('events', 'aslcontext')
    except InputError:
        return False


def _is_visible(name: str) -> bool:
    return not name.startswith('.')


def classify(relative: str) -> DatasetFile:
    """Say what a file under a subject's folder is, by its path in the dataset.

    Anatomical images are always 'out': only images that passed QC take their place.
    """

    def out(reason: str, may_show_face: bool = True) -> DatasetFile:
        return DatasetFile(relative, 'out', reason, may_show_face)

    *folders, name = PurePosixPath(relative).parts
    subject, *inner = folders
    session = inner.pop(0) if inner and inner[0].startswith('ses-') else None
    try:
        entities, suffix, extension = split_name(name)
    except InputError:
        return out(f'a file of no BIDS name, which {_NOT_LISTED}')
    place = [f'{key}-{entities[key]}' for key in ('sub', 'ses') if key in entities]
    labels_are_valid = all(_LABEL.fullmatch(label) for label in entities.values())
    if not labels_are_valid or not _SUFFIX.fullmatch(suffix) or len(inner) > 1:
        return out(f'a file of no BIDS name or place, which {_NOT_LISTED}')
    if extension == '.json':
        return DatasetFile(relative, 'sidecar')
    if place != [subject, *filter(None, [session])]:
        return out(f'a file whose name is not that of its folder, which {_NOT_LISTED}')
    if not inner:
        if suffix in _TABLES_OF_FOLDERS and extension == '.tsv':
            return DatasetFile(relative, 'folder-table')
        if extension in _GRADIENTS or _is_inherited(name):
            return DatasetFile(relative, 'gradients' if extension in _GRADIENTS else 'sidecar')
        return out(f'a file outside of the folders of BIDS, which {_NOT_LISTED}')

    (datatype,) = inner
    rules = packaged_json('sharing')
    what = rules['suffixes'].get(suffix)
    if extension in IMAGE_EXTENSIONS:
        if datatype == 'mrs':
            return out(f'a spectrum ({suffix}), which {_NOT_LISTED}', False)
        part = _PARTS_WITHOUT_CONTRAST.get(entities.get('part', ''))
        if part:
            return out(f'{part} of a complex image ({suffix}): {_MAY_SHOW}')
        if not entities.keys().isdisjoint(('desc', 'space')):
            return out(f'a processed image ({suffix}), not a raw one: {_MAY_SHOW}')
        if suffix in rules['images'].get(datatype, ()):
            return DatasetFile(relative, 'image')
        return out(f'{what or "image"} ({suffix} in {datatype}): {_MAY_SHOW}')
    if extension in _TABLES and suffix in rules['tables'].get(datatype, ()):
        return DatasetFile(relative, 'table')
    if extension in _GRADIENTS and datatype == 'dwi':
        return DatasetFile(relative, 'gradients')
    if suffix in ('photo', 'asllabeling', 'headshape'):
        return out(f'{what} ({suffix}): {_MAY_SHOW}')
    if datatype in _RECORDINGS:
        return out(
            f'a recording ({datatype}), whose files may hold names and dates; share it by other means', False
        )
    if extension in (*_TABLES, *_GRADIENTS, *_UNIX_TEXTS):
        return out(f'a table or text ({suffix} in {datatype}) that {_NOT_LISTED}', False)
    return out(
        f'a file of an unknown kind ({extension or "no extension"} in {datatype}), which {_NOT_LISTED}'
    )


def told_rows(entries: Iterable[DatasetFile]) -> list[dict[str, Any]]:
    """Return rows of a list: ``path`` if it may be named, ``files``, ``may_show_face`` and ``reason``."""
    counts = Counter((entry.told, entry.may_show_face, entry.reason) for entry in entries)
    return [
        {'path': path, 'files': count, 'may_show_face': face, 'reason': reason}
        for (path, face, reason), count in sorted(counts.items())
    ]


def write_list(dataset: Path, path: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write a table of files and why each was left out, of rows as `told_rows` gives them."""
    counts = Counter[tuple[str, str, bool]]()
    for row in rows:
        counts[row['path'], row['reason'], row['may_show_face']] += row['files']
    lines = [
        [told, str(count), 'yes' if face else 'no', ' '.join(reason.split())]
        for (told, reason, face), count in sorted(counts.items())
    ]
    table = Table(['path', 'files', 'may_show_face', 'reason'], lines)
    OutputFolder(dataset).write(path, table.text())


def summary_lines(entries: Collection[DatasetFile]) -> list[str]:
    """Say in one line for each reason how many files it concerns, and name the first."""
    ordered = sorted(entries, key=lambda entry: (not entry.may_show_face, entry.reason, entry.path))
    lines = []
    for reason, group in groupby(ordered, key=lambda entry: entry.reason):
        paths = [entry.path for entry in group]
        more = f' and {len(paths) - 1} more' if len(paths) > 1 else ''
        lines.append(f'{paths[0]}{more}: {reason}')
    return lines


def unprocessed(
    entries: Collection[DatasetFile], records: Collection[dict[str, Any]], suffixes: Collection[str]
) -> list[DatasetFile]:
    """Return what may show a face, has not passed, and has none of the suffixes that a run processes."""
    judged = {
        record['scan']
        for record in records
        if record['status'] == 'pass' or split_name(record['scan'])[1] in suffixes
    }
    return [entry for entry in entries if entry.may_show_face and entry.path not in judged]
