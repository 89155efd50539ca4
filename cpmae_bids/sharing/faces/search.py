"""Does any image of a folder still show a face?

Up to two detectors look at every volume. A face is accepted only in an output of this tool whose bytes are
those that passed QC.
"""

import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes

from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime.packaged import packaged_json
from cpmae_bids.sharing.faces import contents
from cpmae_bids.sharing.faces.promises import Promise, Promises
from cpmae_bids.sharing.walk import files_below

# Formats that nibabel reads; a volume in one of them is examined
READABLE = ('.nii', '.nii.gz', '.mgz', '.mgh', '.mgh.gz', '.img', '.img.gz', '.mnc')

# Formats of images and of archives that are not read, and therefore never found to be free of faces
FOREIGN = (
    *('.dcm', '.ima', '.nrrd', '.nhdr', '.mif', '.mif.gz', '.mha', '.mhd', '.par', '.brik', '.brik.gz'),
    *('.tar', '.tgz', '.tar.gz', '.tar.bz2', '.tar.xz', '.zip', '.7z', '.rar', '.bz2', '.xz', '.zst'),
)

# Least size of what could show a face, and greatest of what is a slice: what lies between is a slab, of which
# several can show one
MIN_EXTENT_MM, SLICE_MM = 60.0, 8.0
# Range of the longest edge of a field of view: beyond it, the unit of the header is not the millimetre
HEAD_MM = (60.0, 1000.0)
# Range of the longest edge beyond which a head is also looked for as if that edge were the usual one
LONGEST_MM, USUAL_MM = (150.0, 400.0), 240.0
LONGEST_SLICE = 2048  # voxels along a slice, beyond which it is a volume in disguise
MAX_HEADER = 1 << 16  # bytes of a header beside its image; what is longer holds something else
# Volumes of a series that are examined, and bytes up to which a series is read as a whole
MAX_VOLUMES, MAX_LOADED = 5, 1 << 29
# Voxels of a volume that is examined: a small compressed file can hold more than there is memory
MAX_VOXELS = 1 << 30
_ACROSS = 'a face across several cannot be ruled out'
OK = ('clear', 'passed')  # findings that are no reason not to share


@dataclass(frozen=True)
class Finding:
    """What was found in one file."""

    path: str  # relative to the folder
    # 'clear' (no face), 'passed' (an output as it passed QC), 'face', 'changed' (has the name of an output
    # but is not the file that passed), or 'unread'
    finding: str
    how: str = ''  # which detector found it, or why the file could not be judged
    slice_mm: float = 0.0  # thickness of a single slice

    @property
    def is_ok(self) -> bool:
        return self.finding in OK

    def line(self) -> str:
        return f'{self.finding.upper()} {self.path}' + (f': {self.how}' if self.how else '')


@dataclass
class Listing:
    """The files of a folder that matter."""

    images: list[Path] = field(default_factory=list)
    # one for each folder and format that is not read, and for each folder that cannot be read
    foreign: list[Finding] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)  # what was not examined, by its kind


def list_images(root: Path) -> Listing:
    """Find the images under a folder, through links, sorted by path.

    What is neither a readable image nor a text without pictures is named as unread. Folders of version
    control are left out: their files have a link elsewhere, or are history.
    """
    listing, foreign, closed = Listing(), Counter[tuple[str, str]](), list[OSError]()
    promises = Promises()

    def enter(folder: str) -> bool:
        listing.skipped['.git'] += folder == '.git'
        return folder != '.git'

    for path in files_below(root, enter, closed.append):
        name = path.name.lower()
        if name.endswith(READABLE):
            listing.images.append(path)
            continue
        kind = next(filter(name.endswith, FOREIGN), '')
        try:
            if _is_header(path):
                continue
            kind = kind or contents.kind_of(path)
            if kind == contents.NIFTI:
                listing.images.append(path)
                continue
            if contents.is_harmless(path, kind) or name == '.ds_store' or promises.is_report(path):
                continue
        except OSError as error:
            kind = f'cannot be read: {error.strerror}'
        if contents.is_recording(path, kind):
            listing.skipped['recordings of signals'] += 1
        elif name.endswith(contents.MEDIA) and path.relative_to(root).parts[0] == 'stimuli':
            listing.skipped['stimuli'] += 1
        else:
            if kind in ('data', contents.TEXT):
                kind = path.suffix.lower() or 'no extension'
            foreign[path.parent.relative_to(root).as_posix(), kind] += 1
    for (folder, kind), count in sorted(foreign.items()):
        reason = f'{count} file{"s" * (count != 1)} of a format that is not read ({kind}): convert or remove'
        listing.foreign.append(Finding(folder, 'unread', reason))
    for refused in closed:
        folder = Path(refused.filename).relative_to(root).as_posix()
        listing.foreign.append(
            Finding(folder, 'unread', f'a folder that cannot be read ({refused.strerror})')
        )
    listing.images.sort()
    return listing


def _is_header(path: Path) -> bool:
    """Whether a file is the header of an image beside it, which is examined."""
    stem = path.name.removesuffix('.gz')[: -len('.hdr')]
    images = (path.with_name(stem + extension) for extension in ('.img', '.img.gz'))
    return path.name.lower().endswith(('.hdr', '.hdr.gz')) and (
        path.stat().st_size <= MAX_HEADER and any(image.exists() for image in images)
    )


def is_shared_as_is(path: Path) -> bool:
    """Whether an image, by place and name, is of a kind that is shared with all its voxels, such as EPI.

    It must lie where BIDS has such images: in the folder of its datatype in that of its subject or session.
    """
    folder = path.absolute().parent
    subject = folder.parent.parent if folder.parent.name.startswith('ses-') else folder.parent
    suffix = path.name.partition('.')[0].rpartition('_')[2]
    return (
        subject.name.startswith('sub-')
        and path.name.startswith(f'{subject.name}_')
        and suffix in packaged_json('sharing')['images'].get(folder.name, ())
    )


def judge_all(
    root: Path, listing: Listing, recognise: bool, each: Callable[..., Iterable[Finding]] = map
) -> Iterator[Finding]:
    """Yield what is found in each image of a listing of a folder, after what is not read.

    `recognise` adds dlib's detector to the geometry. `each` is as `map`; that of a pool of processes judges
    several images at a time.
    """
    yield from listing.foreign
    count = len(listing.images)
    promises = [*map(Promises().about, listing.images)]
    yield from each(judge, listing.images, [root] * count, promises, [recognise] * count)


def judge(path: Path, root: Path, promise: Promise | None, recognise: bool) -> Finding:
    """Look for a face in an image, named relative to `root`; `recognise` adds dlib's detector."""
    name = path.relative_to(root).as_posix()
    broken = ''
    try:
        if any(part.exists() and not part.is_file() for part in _parts(path)):
            raise ValueError('no regular file')  # opening a pipe would wait for ever
        if promise is not None:
            broken = promise.broken(path)
            if not broken:
                return Finding(name, 'passed', 'the file that passed its verdict')
        volumes, affine, oriented = read_volumes(path)
        as_is = is_shared_as_is(path)
        how, doubt = _detect_any(volumes, affine, recognise and not as_is)
        more = contents.surplus(_load(path))
    except Exception as err:  # readers raise all kinds of errors on damaged files; none may pass as clear
        reason = ' '.join(str(err).split()).replace(str(root), '.') or type(err).__name__
        return Finding(name, 'unread', '; '.join(filter(None, [broken, reason])))
    if broken:
        return Finding(name, 'changed', '; '.join(filter(None, [broken, how and f'face by {how}'])))
    if how:
        return Finding(name, 'face', how)
    if not oriented:
        doubt = 'no orientation (qform and sform): a face cannot be ruled out'
    if (doubt and not as_is) or more:
        return Finding(name, 'unread', more or doubt)
    return Finding(name, 'clear', slice_mm=0.0 if as_is else _slice_mm(volumes[0].shape, affine))


def stacks(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for each folder whose single slices together are as thick as what could show a face."""
    found: dict[str, list[float]] = {}
    for finding in findings:
        if finding.slice_mm:
            found.setdefault(str(PurePosixPath(finding.path).parent), []).append(finding.slice_mm)
    return [
        Finding(folder, 'unread', f'{len(mm)} slices of {sum(mm):.0f} mm together: {_ACROSS}')
        for folder, mm in sorted(found.items())
        if sum(mm) >= MIN_EXTENT_MM
    ]


def _detect_any(volumes: list[np.ndarray], affine: np.ndarray, recognise: bool) -> tuple[str, str]:
    """How a face was found in any of several volumes, or why one could not be ruled out."""
    doubt = ''
    if len(volumes) > 1 and _slice_mm(volumes[0].shape, affine):
        return '', f'a series of slices: {_ACROSS}'
    for values in volumes:
        try:
            if how := detect(values, affine, recognise):
                return how, ''
        except ValueError as err:
            doubt = str(err)
    return '', doubt


def detect(values: np.ndarray, affine: np.ndarray, recognise: bool) -> str:
    """Name the detectors that find a face; empty without any.

    Headers may be wrong: all orientations of the axes are tried, and where the unit cannot be millimetres,
    another. Raises ValueError if head and air cannot be told apart, or a slab shows too little, and no
    detector finds a face.
    """
    from cpmae_bids.deid.qc import relief
    from cpmae_bids.sharing.faces import recogniser

    if _slice_mm(values.shape, affine):
        if max(values.shape) > LONGEST_SLICE:
            raise ValueError(f'a slice of {max(values.shape)} voxels: {_ACROSS}')
        return ''
    affine = _in_mm(affine, values.shape)
    extents = _extents(affine, values.shape)
    slab = extents.min() < MIN_EXTENT_MM
    shape = relief.find_face(values, affine)
    found = [f'geometry ({shape.agreement:.2f})'] if shape.is_face else []
    if recognise and not slab and recogniser.sees_face(values, affine):
        found.append('detector')
    if not found and not slab:
        turned = relief.find_turned(values, affine).agreement
        found += [f'geometry ({turned:.2f}, axes turned)'] if turned >= relief.MIN_TURNED else []
    if not found and not slab and not LONGEST_MM[0] <= extents.max() <= LONGEST_MM[1]:
        scaled = relief.find_face(values, _scaled(affine, USUAL_MM / extents.max())).agreement
        found += [f'geometry ({scaled:.2f}, voxels scaled)'] if scaled >= relief.MIN_TURNED else []
    if not found and shape.opaque:
        raise ValueError('head and air cannot be told apart: a face cannot be ruled out')
    if not found and slab and np.ptp(values):
        raise ValueError(f'a slab of {extents.min():.0f} mm: {_ACROSS}')
    return ', '.join(found)


def _in_mm(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An affine in the power of ten of its unit that gives a field of view the size of a head's."""
    longest = float(_extents(affine, shape).max())
    if HEAD_MM[0] <= longest <= HEAD_MM[1] or longest <= 0:
        return affine
    return _scaled(affine, 10.0 ** np.ceil(np.log10(100 / longest)))


def _scaled(affine: np.ndarray, factor: float) -> np.ndarray:
    return np.diag([factor, factor, factor, 1.0]) @ affine


def _extents(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Edges of a field of view, mm."""
    return voxel_sizes(affine) * shape


def _slice_mm(shape: tuple[int, ...], affine: np.ndarray) -> float:
    """Thickness of a slice; 0 for what is a volume or a slab."""
    extents = _extents(_in_mm(affine, shape), shape)
    return float(extents.min()) if min(shape) < 2 or extents.min() < SLICE_MM else 0.0


def face_in_copy(path: Path) -> str:
    """Say how geometry found a face in an image that would be copied as it is (EPI, mostly), or nothing.

    Raises InputError if the file cannot be read.
    """
    try:
        volumes, affine, _ = read_volumes(path)
    except Exception as err:  # readers raise all kinds of errors on damaged files
        raise InputError(f'{path.name}: cannot be read ({err}); fetch it again') from err
    return _detect_any(volumes, affine, recognise=False)[0]


def read_volumes(path: Path) -> tuple[list[np.ndarray], np.ndarray, bool]:
    """Read an image as real volumes (X, Y, Z), float32; also its affine, and whether it is more than a guess.

    The mean of a series comes first, if it can be read as a whole, then `MAX_VOLUMES` of it: the most unusual
    one, the brightest, and others evenly spaced. Raises whatever nibabel raises, and ValueError if the data
    are no volume of numbers.
    """
    import nibabel as nib

    image: Any = _load(path)
    oriented = not isinstance(image, nib.AnalyzeImage)  # which has no orientation at all
    if isinstance(image, nib.Nifti1Pair):
        oriented = bool(image.header['sform_code'] or image.header['qform_code'])
    affine = np.asarray(image.affine, np.float64)
    oriented = oriented and not np.allclose(affine, np.eye(4))  # the affine of programs that had none
    if (
        not np.prod(image.shape)
        or not np.isfinite(affine).all()
        or abs(np.linalg.det(affine[:3, :3])) < 1e-12
    ):
        raise ValueError('no voxels, or an affine that is not invertible')
    if np.prod(image.shape[:3], dtype=float) > MAX_VOXELS:
        raise ValueError('a volume larger than that of any head')
    return _several(image.dataobj, image.shape), affine, oriented


def _parts(path: Path) -> list[Path]:
    """An image, and the files beside it that nibabel opens with it, there or not."""
    import nibabel as nib

    if not path.name.lower().endswith(('.img', '.img.gz')):
        return [path]
    holders = nib.Spm2AnalyzeImage.filespec_to_file_map(str(path)).values()
    return [Path(holder.filename or path) for holder in holders]


def _load(path: Path) -> Any:
    import nibabel as nib

    if path.name.endswith((*READABLE, *map(str.upper, READABLE))):
        return nib.load(path)
    with path.open('rb') as file:  # NIfTI under another name
        content = file.read()
    content = gzip.decompress(content) if content[:2] == b'\x1f\x8b' else content
    two = content[4:7] in (b'n+2', b'ni2')
    return (nib.Nifti2Image if two else nib.Nifti1Image).from_bytes(content)


def _several(data: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Volumes of an array; see `read_volumes`."""
    count = int(np.prod(shape[3:]))
    if len(shape) <= 3:
        return [_real(np.asanyarray(data)).reshape(*shape, *(1,) * (3 - len(shape)))]
    evenly = np.unique(np.linspace(0, count - 1, MAX_VOLUMES).astype(int))
    if 8 * int(np.prod(shape)) > MAX_LOADED:
        where = [np.unravel_index(index, shape[3:]) for index in evenly]
        return [_real(np.asanyarray(data[(..., *index)])) for index in where]
    series = _real(np.asanyarray(data)).reshape(*shape[:3], count)
    mean = series.mean(axis=3)
    if count == 1:
        return [mean]
    unusual = np.array([np.abs(series[..., k] - mean).mean() for k in range(count)]).argmax()
    brightest = series.reshape(-1, count).mean(axis=0).argmax()
    order = dict.fromkeys([int(unusual), int(brightest), *map(int, evenly)])
    return [mean, *(series[..., k] for k in list(order)[:MAX_VOLUMES])]


def _real(data: np.ndarray) -> np.ndarray:
    if data.dtype.names:
        raise ValueError('colours instead of intensities')
    data = np.abs(data) if np.iscomplexobj(data) else data
    return np.nan_to_num(np.asarray(data, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
