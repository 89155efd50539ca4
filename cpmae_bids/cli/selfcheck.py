"""``cpmae-bids --self-check``: check the installation.

One line for each check, and one screen in all.
"""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from cpmae_bids._version import __version__
from cpmae_bids.bids.derivatives import LIBRARIES
from cpmae_bids.cli.outcome import settle_surroundings
from cpmae_bids.exceptions import EXIT_FAILED, EXIT_OK, CpmaeError

SEED = 1


def self_check(weights: Path | None = None, device: str = 'auto') -> int:
    """Print versions and hashes, de-identify a phantom in a temporary folder, and return the exit code."""
    settle_surroundings()
    code = EXIT_OK
    for name, check in _checks(weights, device):
        try:
            found = check()
        except CpmaeError as error:
            code, found = EXIT_FAILED, f'FAILED: {error}'
        except Exception as error:  # whatever is wrong here is what this is to find out
            code, found = EXIT_FAILED, f'FAILED: {type(error).__name__}: {error}'
        print(f'{name:<12} {found}', flush=True)
    print('all checks passed' if code == EXIT_OK else 'cpmae-bids is not ready for use: see FAILED above')
    return code


def _checks(weights: Path | None, device: str) -> Iterator[tuple[str, Callable[[], str]]]:
    yield 'cpmae-bids', lambda: f'{__version__}, Python {platform.python_version()}, {platform.platform()}'
    yield 'libraries', lambda: ', '.join(f'{name} {version(name)}' for name in LIBRARIES)
    yield 'weights', lambda: _weights(weights)
    yield 'template', _template
    yield 'processor', _processor
    yield 'device', lambda: _device(device)
    yield 'disk', _disk
    yield 'phantom', lambda: _phantom(weights, device)


def _weights(weights: Path | None) -> str:
    from cpmae_bids.models.weights import MODELS, resolve_weights

    found = resolve_weights(weights)
    size = sum(found.path(name).stat().st_size for name in MODELS) / 2**20
    return f'{found.model_hash}, {len(MODELS)} files, {size:.1f} MiB, all hashes right'


def _template() -> str:
    from cpmae_bids.templates import find_template

    return find_template().name


def _processor() -> str:
    from cpmae_bids.runtime.threads import available_cpus

    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    return f'{available_cpus()} to use, {memory:.0f} GiB of memory'


@cache  # PyTorch is asked in a process of its own
def _device(device: str) -> str:
    from cpmae_bids.cli.devices import settle_device

    return settle_device(device)


def _disk() -> str:
    with tempfile.TemporaryDirectory(prefix='cpmae-bids-') as folder:
        Path(folder, 'probe').write_bytes(b'probe')
        return f'{shutil.disk_usage(folder).free / 2**30:.0f} GiB free in {tempfile.gettempdir()}, writable'


def _phantom(weights: Path | None, device: str) -> str:
    """De-identify a phantom by all steps, the verdict included."""
    from cpmae_bids.models.weights import load_model, resolve_weights
    from cpmae_bids.phantom import write_phantom
    from cpmae_bids.steps.chain import deidentify

    def progress(step: str) -> None:
        if sys.stdout.isatty():
            print(f'{"phantom":<12} {step} ...\x1b[K', end='\r', flush=True)

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='cpmae-bids-') as folder:
        phantom, refaced = Path(folder, 'phantom.nii.gz'), Path(folder, 'refaced.nii.gz')
        found = resolve_weights(weights)
        write_phantom(phantom, load_model(found, 'head'), load_model(found, 'mae'))
        verdict = deidentify(
            phantom,
            refaced,
            seed=SEED,
            preset='128',
            weights=weights,
            device=_device(device),
            progress=progress,
        )
        size = refaced.stat().st_size / 2**20
    took = time.monotonic() - started
    return f'de-identified at 2 mm, verdict {verdict["status"]}, {size:.1f} MiB, {took:.0f} s'
