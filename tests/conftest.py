"""Shared fixtures: tiny NIfTI images, tiny BIDS datasets, and the real heads if there are any."""

import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

# Set before anything is imported: some libraries write into their caches at import.
_CACHES = tempfile.TemporaryDirectory(prefix='cpmae-bids-tests-')
for _name in ('MPLCONFIGDIR', 'XDG_CACHE_HOME', 'TEMPLATEFLOW_HOME', 'NIPYPE_CONFIG_DIR'):
    os.environ[_name] = str(Path(_CACHES.name, _name.lower()))
os.environ['NO_ET'] = '1'
os.environ.setdefault('OMP_NUM_THREADS', '1')

import nibabel as nb  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def head_phantom(shape: tuple[int, int, int] = (20, 24, 22), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw concentric ellipsoids, brain inside skull inside scalp, in noisy air.

    Parameters
    ----------
    shape : tuple of int
        Grid of the image.
    seed : int
        Seed of the noise.

    Returns
    -------
    head : ndarray of float32, shape `shape`
        Air about 0 to 12, scalp about 300, skull about 60, brain about 500.
    brain : ndarray of bool, shape `shape`
        The innermost ellipsoid.
    """
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing='ij')
    radius = np.sqrt(sum(axis**2 for axis in axes))
    head = np.select([radius < 0.5, radius < 0.65, radius < 0.85], [500.0, 60.0, 300.0], 0.0)
    noise = np.hypot(rng.normal(0, 4, shape), rng.normal(0, 4, shape))
    return (head + noise).astype(np.float32), radius < 0.5


@pytest.fixture
def phantom() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Return `head_phantom`, for tests that want the arrays."""
    return head_phantom


@pytest.fixture
def make_nifti() -> Callable[..., Path]:
    """Return ``make_nifti(path, data=None, *, affine=None, dtype=np.int16)``: writes an image.

    Without `data` it holds the head phantom at 8 mm. Parent folders are made as needed.
    """

    def make(path, data=None, *, affine=None, dtype=np.int16) -> Path:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            data = head_phantom()[0]
        if affine is None:
            affine = np.diag([8.0, 8.0, 8.0, 1.0])
            affine[:3, 3] = -4.0 * np.array(data.shape[:3])
        image = nb.Nifti1Image(np.asarray(data).astype(dtype), affine)
        image.header.set_xyzt_units('mm', 'sec')
        nb.save(image, path)
        return path

    return make


@pytest.fixture
def make_bids(tmp_path, make_nifti) -> Callable[..., Path]:
    """Return ``make_bids(scans, sidecars=None, participants=None, root=None, **description)``.

    `scans` are paths relative to the dataset, each written as a head phantom; `sidecars` maps
    relative paths to JSON content; `participants` is the text of participants.tsv; `description`
    adds keys to dataset_description.json. The dataset is made in ``tmp_path / 'raw'`` or in `root`.
    """

    def make(scans, sidecars=None, participants=None, root=None, **description) -> Path:
        root = Path(root or tmp_path / 'raw')
        root.mkdir(parents=True, exist_ok=True)
        content = {'Name': 'Tiny heads', 'BIDSVersion': '1.10.0', 'DatasetType': 'raw', **description}
        (root / 'dataset_description.json').write_text(json.dumps(content))
        (root / 'README').write_text(
            'Tiny synthetic heads that are used to test software, and nothing else.\n'
        )
        for scan in scans:
            make_nifti(root / scan)
        for path, sidecar in (sidecars or {}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(json.dumps(sidecar))
        if participants is not None:
            (root / 'participants.tsv').write_text(participants)
        return root

    return make


@pytest.fixture
def ready(monkeypatch):
    """Weights and a template are there; both have tests of their own."""
    from cpmae_bids.cli import preflight

    monkeypatch.setattr(preflight, 'find_model_hash', lambda config: 'abc')
    monkeypatch.setattr(preflight, 'check_template', lambda config: None)


@pytest.fixture(scope='session')
def test_heads() -> Path:
    """Return the BIDS dataset of real heads that ``CPMAE_TEST_HEADS`` names, or skip the test."""
    folder = os.environ.get('CPMAE_TEST_HEADS')
    if not folder:
        pytest.skip('CPMAE_TEST_HEADS names no dataset of real heads')
    path = Path(folder)
    assert (path / 'dataset_description.json').is_file(), f'{path} is not a BIDS dataset'
    return path


@pytest.fixture
def finished(tmp_path, make_nifti) -> Callable[..., dict[str, Path]]:
    """Return ``finished(scan)``: the images that the steps would leave in the work folder.

    The "refaced" image is the head phantom with other noise around the brain of the scan: enough for whatever
    files are done with.
    """

    def make(scan, seed: int = 1) -> dict[str, Path]:
        folder = tmp_path / 'work' / scan.name
        head, brain = head_phantom(seed=seed)
        original = nb.load(scan.path)
        head[brain] = np.asanyarray(original.dataobj)[brain]
        files = {
            'refaced': make_nifti(folder / 'refaced.nii.gz', head),
            'defacemask': make_nifti(folder / 'deface_mask.nii.gz', ~brain, dtype=np.uint8),
            'brainmask': make_nifti(folder / 'kept_mask.nii.gz', brain, dtype=np.uint8),
        }
        return files

    return make
