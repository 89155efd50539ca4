"""What must hold of an output after whatever has happened, checked without the code that judges outputs.

`check` returns a list of complaints that begin with their kind: ``LEAK``, ``PARTIAL``, ``INVALID``,
``RECORD``, ``INPUT`` or ``PROCESS``. None is the only good answer.
"""

import gzip
import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from cpmae_bids.bids.validation import validate_bids

RIM_MM = (
    6.0  # the preserved region ends about 2 mm from the brain, and the feather around it some 2 mm further
)
# Share of tissue outside the preserved region that may have the value of the original by chance; a copy has 1
SAME_SHARE = 0.3
# Range of volumes of a preserved region: a mask of everything would make everything legitimate
KEPT_ML = (300, 2600)
WINDOW = 16  # length in bytes of the pieces of an original that are looked for in every file
IMAGES = ('.nii', '.nii.gz')


def snapshot(folder: Path) -> dict[str, str]:
    """Content, or target, of everything in a folder that must not change."""
    found = {}
    for path in sorted(folder.rglob('*')):
        name = os.fsencode(path.relative_to(folder)).decode('utf-8', 'backslashreplace')
        if path.is_symlink():
            found[name] = f'link to {os.readlink(path)}'
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.is_dir():
            found[name] = 'folder'
    return found


def check(
    output: Path,
    originals: Iterable[Path],
    *,
    before: dict[str, str] | None = None,
    raw: Path | None = None,
    workers_of: str | Path | None = None,
    killed: bool = False,
    validate: bool = True,
    brain: np.ndarray | None = None,
) -> list[str]:
    """Look for what must never be.

    Parameters
    ----------
    output : Path
        The output dataset; it need not exist.
    originals : iterable of Path
        The scans whose heads may not be in it.
    before, raw : dict and Path, optional
        `snapshot` of the input before the fault, and the input.
    workers_of : str or Path, optional
        Text in the command lines or environments of processes that must be gone.
    killed : bool
        Whether the process that wrote was killed outright. Then whole files may lie under hidden names, for
        nobody was left to remove them; they may not hold an original either.
    validate : bool
        Whether to run the BIDS validator, which takes half a second.
    brain : ndarray of bool, optional
        The true brain of the originals: nothing farther than `RIM_MM` from it may have been kept.
    """
    complaints = []
    if output.is_dir():
        heads = [_Head(path, brain) for path in originals]
        records = _records(output)
        for path in sorted(output.rglob('*')):
            if path.is_file() or path.is_symlink():
                complaints += _check_file(path, output, heads, records, killed)
        complaints += _check_records(output, records)
        if validate and (output / 'dataset_description.json').exists():
            complaints += [f'INVALID {issue}' for issue in validate_bids(output)]
    if before is not None:
        after = snapshot(raw)
        changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
        complaints += [f'INPUT {name} was changed' for name in changed]
    if workers_of is not None:
        complaints += [f'PROCESS {line}' for line in processes(str(workers_of))]
    return complaints


def processes(text: str) -> list[str]:
    """Command lines of living processes that have a text in command line, environment or working folder."""
    found, needle = [], os.fsencode(text)
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            command, environment = ((folder / name).read_bytes() for name in ('cmdline', 'environ'))
            environment += os.fsencode(os.readlink(folder / 'cwd'))
            state = (folder / 'stat').read_text().rpartition(') ')[2][0]
        except OSError:
            continue
        if int(folder.name) != os.getpid() and state not in 'ZX' and needle in command + environment:
            found.append(f'{folder.name}: {command.decode(errors="replace")}'.replace('\0', ' '))
    return found


class _Head:
    """An original, and pieces of it that must not turn up."""

    def __init__(self, path: Path, brain: np.ndarray | None):
        image = nib.load(path)
        self.name, self.shape, self.affine = path.name, image.shape, image.affine
        self.raw = np.asanyarray(image.dataobj.get_unscaled())
        values = self.raw.astype(float)
        self.tissue = values > values.min() + 0.15 * (np.percentile(values, 99) - values.min())
        self.sizes = nib.affines.voxel_sizes(self.affine)
        self.brain = brain
        self.windows = self._windows()

    def _windows(self, count: int = 64) -> list[bytes]:
        """Runs of tissue of the outer shell of the head, each with many different values."""
        distance = ndimage.distance_transform_edt(
            ndimage.binary_fill_holes(self.tissue), sampling=self.sizes
        ).ravel(order='F')
        tissue, flat = self.tissue.ravel(order='F'), self.raw.ravel(order='F')
        length = WINDOW // self.raw.itemsize
        rng = np.random.default_rng(0)
        windows = []
        for start in rng.permutation(np.flatnonzero(tissue & (distance < 8)))[:4000]:
            piece = slice(start, start + length)
            if tissue[piece].all() and (distance[piece] < 12).all() and len(set(flat[piece].tolist())) > 6:
                windows.append(flat[piece].tobytes())
                if len(windows) == count:
                    break
        return windows

    def same_outside(self, raw: np.ndarray, kept: np.ndarray) -> float:
        """Share of the tissue well outside the kept part that has the value of the original."""
        far = self.tissue & (ndimage.distance_transform_edt(~kept, sampling=self.sizes) > RIM_MM)
        return float((raw[far] == self.raw[far]).mean()) if far.any() else 0.0


def _check_file(path: Path, output: Path, heads, records, killed: bool) -> list[str]:
    name = path.relative_to(output).as_posix()
    hidden = path.name.startswith('.') and path.name.endswith(('.tmp', '.part'))
    if hidden and not killed:
        return [f'PARTIAL {name} was left behind']
    try:
        content = path.read_bytes()
    except OSError as error:
        return [f'PARTIAL {name} cannot be read ({error})']
    complaints = []
    texts = [content, *_unpacked(content)]
    for head in heads:
        hits = sum(any(window in text for text in texts) for window in head.windows)
        if hits > 2:
            complaints.append(f'LEAK {name} holds {hits} of {len(head.windows)} pieces of {head.name}')
    if hidden:
        return complaints
    if path.name.endswith(IMAGES) or content[344:347] == b'n+1':
        digest = hashlib.sha256(content).hexdigest()
        if records.get(name) != digest:
            complaints.append(f'RECORD {name} is not vouched for by a passing record')
        complaints += _check_image(path, name, output, heads)
    return complaints


def _check_image(path: Path, name: str, output: Path, heads) -> list[str]:
    try:
        image = nib.load(path)
        raw = np.asanyarray(image.dataobj.get_unscaled())
    except Exception as error:  # whatever is wrong with it, it is no whole image
        return [f'PARTIAL {name} is no whole image ({error})']
    complaints = []
    for head in heads:
        if raw.shape != head.shape or not np.allclose(image.affine, head.affine, atol=1e-3):
            continue
        kept = _kept(path, head)
        if kept is None:
            complaints.append(f'LEAK {name} has no plausible mask of what was kept')
        elif head.same_outside(raw, kept) > SAME_SHARE:
            complaints.append(f'LEAK {name} has the values of {head.name} outside the preserved region')
    return complaints


def _kept(path: Path, head: _Head) -> np.ndarray | None:
    """The published mask beside an image, if it is one of a brain; of masks and others, nothing is kept."""
    found = re.fullmatch(r'(.+)_desc-refaced_(T1w|T2w)(\.nii\.gz)', path.name)
    if found is None:
        return np.zeros(head.shape, bool)
    stem, contrast, extension = found.groups()
    mask = path.with_name(f'{stem}_desc-brain{contrast.removeprefix("T1w")}_mask{extension}')
    try:
        kept = np.asanyarray(nib.load(mask).dataobj) > 0
    except Exception:
        return None
    volume = kept.sum() * np.prod(head.sizes) / 1000
    if kept.shape != head.shape or not KEPT_ML[0] <= volume <= KEPT_ML[1]:
        return None
    if head.brain is not None:
        near = ndimage.distance_transform_edt(~head.brain, sampling=head.sizes) <= RIM_MM
        if (kept & ~near).any():
            return None
    return kept


def _unpacked(content: bytes) -> list[bytes]:
    """What is in a compressed file, as far as it can be unpacked."""
    if content[:2] == b'\x1f\x8b':
        unpacked, stream = b'', zlib.decompressobj(31)
        try:
            unpacked = stream.decompress(content)
        except zlib.error:
            unpacked = _as_far_as_possible(content)
        return [unpacked]
    if content[:2] == b'PK':
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return [archive.read(name) for name in archive.namelist()]
        except (zipfile.BadZipFile, zlib.error):
            return []
    return []


def _as_far_as_possible(content: bytes) -> bytes:
    parts = []
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            while part := stream.read(4096):
                parts.append(part)
    except (OSError, EOFError, zlib.error):
        pass
    return b''.join(parts)


def _records(output: Path) -> dict[str, str]:
    """Hashes that passing records vouch for."""
    vouched = {}
    for path in (output / 'logs' / 'verdicts').glob('[!.]*.json'):
        try:
            record = json.loads(path.read_text('utf-8'))
        except (OSError, ValueError):
            continue
        if record.get('status') == 'pass':
            vouched |= record.get('files') or {}
    return vouched


def _check_records(output: Path, records: dict[str, str]) -> list[str]:
    """Whole records, and no image beside a record that is not about it."""
    complaints = []
    for path in (output / 'logs' / 'verdicts').glob('[!.]*'):
        try:
            json.loads(path.read_text('utf-8'))
        except (OSError, ValueError) as error:
            complaints.append(f'PARTIAL {path.relative_to(output)} is no whole record ({error})')
    return complaints
