"""Does any image of a folder still show a face?

Every anatomical volume is looked at by up to two detectors. A face is in order only where it was generated
here: the image is an output of this tool whose bytes are those that passed the verdict.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cpmae_bids.bids.audit import Promise
from cpmae_bids.exceptions import InputError

READABLE = ('.nii', '.nii.gz', '.mgz', '.mgh', '.mgh.gz', '.img', '.img.gz', '.mnc')
"""Formats that nibabel reads; a volume in one of them is looked at."""

FOREIGN = (
    *('.dcm', '.ima', '.nrrd', '.nhdr', '.mif', '.mif.gz', '.mha', '.mhd', '.par', '.brik', '.brik.gz'),
    *('.tar', '.tgz', '.tar.gz', '.tar.bz2', '.tar.xz', '.zip', '.7z', '.rar', '.bz2', '.xz', '.zst'),
)
"""Formats of images and of archives that are not read, and therefore never found to be free of faces."""

OTHER_DATATYPES = frozenset(
    ('func', 'dwi', 'perf', 'fmap', 'pet', 'eeg', 'ieeg', 'meg', 'nirs', 'motion', 'beh', 'micr', 'mrs')
)
"""BIDS folders of images that are not anatomical."""

ANATOMICAL = frozenset((
    *('T1w', 'T2w', 'FLAIR', 'PDw', 'PDT2', 'T2starw', 'inplaceT1', 'inplaceT2', 'UNIT1', 'MP2RAGE', 'MEGRE'),
    *('MESE', 'VFA', 'IRT1', 'MPM', 'MTS', 'MTR', 'T1map', 'T2map', 'angio', 'CT', 'ct'),
))  # fmt: skip
"""Suffixes of images that are looked at in those folders, too."""

MIN_EXTENT_MM = 40.0
"""Least size of what could show a face: slices and spectroscopy boxes are smaller along some axis."""

OK = ('clear', 'passed')
"""Findings that are no reason not to share."""


@dataclass(frozen=True)
class Finding:
    """What was found in one file.

    Attributes
    ----------
    path : str
        Relative to the folder.
    finding : str
        'clear' (no face), 'passed' (an output of this tool, as it passed its verdict), 'face', 'changed' (has
        the name of an output but is not the file that passed), or 'unread'.
    how : str
        By which detector it was found, or why the file could not be judged.
    """

    path: str
    finding: str
    how: str = ''

    @property
    def is_ok(self) -> bool:
        return self.finding in OK

    def line(self) -> str:
        return f'{self.finding.upper()} {self.path}' + (f': {self.how}' if self.how else '')


@dataclass
class Listing:
    """The files of a folder that matter.

    Attributes
    ----------
    images : list of Path
        To be looked at.
    foreign : list of Finding
        One for each folder and format that is not read, and for each folder that cannot be read.
    other : int
        Images of other datatypes, which are not looked at.
    """

    images: list[Path] = field(default_factory=list)
    foreign: list[Finding] = field(default_factory=list)
    other: int = 0


def list_images(root: Path) -> Listing:
    """Find the images under a folder, through links, sorted by path.

    Folders of version control are left out: what lies in them has a link elsewhere.
    """
    listing, foreign, closed = Listing(), Counter[tuple[str, str]](), list[OSError]()
    for path in _walk(root, closed.append):
        name = path.name.lower()
        if name.endswith(READABLE):
            if _is_other(path.relative_to(root)):
                listing.other += 1
            else:
                listing.images.append(path)
        elif kind := next(filter(name.endswith, FOREIGN), 'DICOM' if _is_dicom(path) else ''):
            foreign[path.parent.relative_to(root).as_posix(), kind] += 1
    for (folder, kind), count in sorted(foreign.items()):
        reason = f'{count} file{"s" * (count != 1)} of a format that is not read ({kind}): convert or remove'
        listing.foreign.append(Finding(folder, 'unread', reason))
    for error in closed:
        folder = Path(error.filename).relative_to(root).as_posix()
        listing.foreign.append(Finding(folder, 'unread', f'a folder that cannot be read ({error.strerror})'))
    listing.images.sort()
    return listing


def _walk(root: Path, closed: Callable[[OSError], object]) -> Iterator[Path]:
    seen = set()
    for folder, subfolders, names in os.walk(root, onerror=closed, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if name != '.git']
        yield from (Path(folder, name) for name in names)


def _is_other(path: Path) -> bool:
    """Whether a path, relative to the dataset, is that of another datatype than anat."""
    suffix = path.name.partition('.')[0].rpartition('_')[2]
    return suffix not in ANATOMICAL and not OTHER_DATATYPES.isdisjoint(path.parts[:-1])


def _is_dicom(path: Path) -> bool:
    try:
        with path.open('rb') as file:
            return file.read(132)[128:] == b'DICM'
    except OSError:
        return False


def judge(path: Path, root: Path, promise: Promise | None, recognise: bool) -> Finding:
    """Look at one image.

    Parameters
    ----------
    path, root : Path
        The image, and the folder that it is named relative to.
    promise : Promise or None
        What a dataset of this tool says about it (`cpmae_bids.bids.audit.Promises`).
    recognise : bool
        Whether to use dlib's detector beside the geometry.
    """
    name = path.relative_to(root).as_posix()
    broken = ''
    try:
        if promise is not None:
            broken = promise.broken(path)
            if not broken:
                return Finding(name, 'passed', 'the file that passed its verdict')
        values, affine, oriented = read_volume(path)
        how = detect(values, affine, recognise)
    except Exception as err:  # readers raise all kinds of errors on damaged files; none may pass as clear
        reason = ' '.join(str(err).split()).replace(str(root), '.') or type(err).__name__
        return Finding(name, 'unread', '; '.join(filter(None, [broken, reason])))
    if broken:
        return Finding(name, 'changed', '; '.join(filter(None, [broken, how and f'face by {how}'])))
    if how:
        return Finding(name, 'face', how)
    if not oriented:
        return Finding(name, 'unread', 'no orientation (qform and sform): a face cannot be ruled out')
    return Finding(name, 'clear')


def detect(values: np.ndarray, affine: np.ndarray, recognise: bool) -> str:
    """Name the detectors that find a face; empty without any.

    Raises
    ------
    ValueError
        If head and air cannot be told apart and no detector finds a face.
    """
    from cpmae_bids.audit import recogniser
    from cpmae_bids.deid import relief

    extents = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)) * values.shape
    if min(values.shape) < 2 or extents.min() < MIN_EXTENT_MM:
        return ''
    shape = relief.find_face(values, affine)
    found = [f'geometry ({shape.agreement:.2f})'] if shape.is_face else []
    if recognise and recogniser.sees_face(values, affine):
        found.append('detector')
    if not found and shape.opaque:
        raise ValueError('head and air cannot be told apart: a face cannot be ruled out')
    return ', '.join(found)


def face_in_copy(path: Path) -> str:
    """Say how a face was found in an image that would be shared as it is; nothing without one.

    Such images (EPI, mostly) are shared for their kind. This is a second look at their first volume, by
    geometry: where nothing can be seen, their kind decides.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    import nibabel as nib

    try:
        image: Any = nib.load(path)
        data = image.dataobj[(..., *(0,) * (len(image.shape) - 3))] if len(image.shape) > 3 else image.dataobj
        values = np.abs(np.nan_to_num(np.asarray(data), nan=0.0, posinf=0.0, neginf=0.0)).astype(np.float32)
        affine = np.asarray(image.affine, np.float64)
        if values.ndim != 3 or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
            raise ValueError('no volume, or an affine that is not invertible')
    except Exception as err:  # readers raise all kinds of errors on damaged files
        raise InputError(f'{path.name}: cannot be read ({err}); get it again') from err
    try:
        return detect(values, affine, recognise=False)
    except ValueError:
        return ''


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Read an image as one real volume; of several, their mean.

    Returns
    -------
    values : ndarray of float32, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
    oriented : bool
        False where the header gives no orientation and the affine is a guess.

    Raises
    ------
    Exception
        Whatever nibabel raises, and ValueError if the data are no volume of numbers.
    """
    import nibabel as nib

    image: Any = nib.load(path)
    data = np.asanyarray(image.dataobj)
    if data.dtype.names:
        raise ValueError('colours instead of intensities')
    if np.iscomplexobj(data):
        data = np.abs(data)
    data = data.reshape(data.shape + (1,) * (3 - data.ndim))
    data = np.nan_to_num(np.asarray(data, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if data.ndim > 3:
        data = data.reshape(*data.shape[:3], -1).mean(axis=3)
    oriented = not isinstance(image, nib.AnalyzeImage)  # which has no orientation at all
    if isinstance(image, nib.Nifti1Pair):
        oriented = bool(image.header['sform_code'] or image.header['qform_code'])
    affine = np.asarray(image.affine, np.float64)
    if not data.size or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ValueError('no voxels, or an affine that is not invertible')
    return data, affine, oriented
