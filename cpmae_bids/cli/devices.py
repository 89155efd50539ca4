"""Choose the device of the models without loading PyTorch into this process."""

import ctypes
import logging
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from cpmae_bids.exceptions import UsageError

logger = logging.getLogger(__name__)


def settle_device(device: str) -> str:
    """Return 'cpu' or 'cuda', and log if 'auto' falls back to the CPU.

    Raises UsageError if 'cuda' is asked for and not there.
    """
    if device == 'cpu':
        return device
    if cuda_is_available():
        logger.info('device: cuda')
        return 'cuda'
    if device == 'cuda':
        raise UsageError('--device cuda: PyTorch finds no CUDA device here; use --device auto or cpu')
    logger.warning('device: no CUDA device was found, the models run on the CPU')
    return 'cpu'


def settle_device_elsewhere(device: str) -> str:
    """Return 'cpu' or 'cuda' for jobs on other machines, about which this one can say nothing."""
    if device == 'auto':
        logger.warning('device: the models run on the CPU of the jobs; for a GPU give --device cuda')
        return 'cpu'
    return device


def cuda_is_available() -> bool:
    """Ask PyTorch in another process: a main process that has touched CUDA cannot fork workers any more."""
    if _has_no_gpu():
        return False
    code = 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)'
    return subprocess.run([sys.executable, '-c', code], capture_output=True, check=False).returncode == 0


def _has_no_gpu() -> bool:
    """Whether PyTorch is a CPU build, or CUDA's driver is missing; loading it to ask takes seconds."""
    try:
        build = version('torch').partition('+')[2]
    except PackageNotFoundError:
        return False
    if build == 'cpu':
        return True
    if sys.platform != 'linux' or not build.startswith('cu'):
        return False
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return True
    return False
