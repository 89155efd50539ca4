"""Trained weights: where they are, whether they are whole, and loading them."""

import hashlib
import importlib
import json
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cpmae_bids.exceptions import WeightsError

VARIABLE = 'CPMAE_BIDS_WEIGHTS'  # environment variable that names a folder of weights
# File in the folder that lists, per model: file, size, sha256, configuration, licence, command
REGISTRY = 'weights.json'

# Module and class of each model: the two VQ-VAEs, the masked autoencoder, and what takes its heads to 1 mm;
# ``Config`` after the name of the class is that of its settings
KINDS = {
    'brain': ('vqvae', 'VQVAE'),
    'head': ('head', 'HeadVQVAE'),
    'mae': ('mae', 'MAE'),
    'superresolution': ('superresolution', 'SuperResolution'),
}
MODELS = tuple(KINDS)
PACKAGED = Path(__file__).resolve().parent.parent / 'data' / 'weights'  # weights that come with the package


@dataclass(frozen=True)
class Weights:
    """A folder of weights with verified hashes; `registry` is the content of ``weights.json``."""

    directory: Path
    registry: dict

    @property
    def model_hash(self) -> str:
        """One short hash over all models, for sidecars and for telling whether a result is up to date."""
        joined = ''.join(self.registry[name]['sha256'] for name in MODELS)
        return hashlib.sha256(joined.encode()).hexdigest()[:16]

    def path(self, name: str) -> Path:
        """File of a model."""
        return self.directory / self.registry[name]['file']


def resolve_weights(directory: str | Path | None = None) -> Weights:
    """Find and verify the weights: the argument, else ``$CPMAE_BIDS_WEIGHTS``, else the package's own.

    Raises WeightsError if a file is missing, truncated or has another hash.
    """
    if directory:
        folder, remedy = Path(directory), 'check --weights'
    elif os.environ.get(VARIABLE):
        folder, remedy = Path(os.environ[VARIABLE]), f'check ${VARIABLE}'
    else:
        folder, remedy = PACKAGED, 'install cpmae-bids again'
    return read_registry(folder, MODELS, remedy)


def read_registry(
    folder: Path, models: tuple[str, ...] = ('brain', 'head'), remedy: str = 'train it'
) -> Weights:
    """Weights of some of the models in a folder, checked; see `resolve_weights`."""
    try:
        registry = json.loads((folder / REGISTRY).read_text(encoding='utf-8'))
        entries = {name: (folder / registry[name]['file'], registry[name]['sha256']) for name in models}
    except OSError as error:
        raise WeightsError(f'{folder / REGISTRY}: cannot be read ({error.strerror}): {remedy}') from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f'{folder / REGISTRY}: not a list of weights ({error!r}): {remedy}') from error
    for name, (path, expected) in entries.items():
        try:
            found = sha256(path)
        except OSError as error:
            raise WeightsError(f'{path}: cannot be read ({error.strerror}): {remedy}') from error
        if found != expected:
            size, wanted = path.stat().st_size, registry[name].get('size')
            what = (
                f'{size} of {wanted} bytes'
                if size != wanted
                else f'sha256 {found[:12]}, expected {expected[:12]}'
            )
            raise WeightsError(f'{path}: damaged or of another version ({what}): {remedy}')
    return Weights(folder, registry)


def sha256(path: Path) -> str:
    """Hash of a file, hexadecimal. One that did not change since is not read again, nor by forks."""
    status = path.stat()
    return _sha256(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=16)
def _sha256(path: Path, state: tuple[int, ...]) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def load_model(weights: Weights, name: str, device: str = 'cpu') -> Any:
    """Load 'brain', 'head', 'mae' or 'superresolution' in evaluation mode on 'cpu', 'cuda' or 'cuda:N'.

    Raises WeightsError if the file does not fit the configuration in the registry.
    """
    from safetensors.torch import load_file

    path = weights.path(name)
    try:
        stored = weights.registry[name]['config']
        config = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
        place, class_name = KINDS[name]
        module = importlib.import_module(f'cpmae_bids.models.{place}')
        kind, kind_of_config = getattr(module, class_name), getattr(module, f'{class_name}Config')
        model = kind(kind_of_config(**config))
        state = load_file(path)
        own = model.state_dict()
        state = {key: value.to(own[key].dtype) if key in own else value for key, value in state.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
    except Exception as error:  # safetensors, torch and the configurations raise errors of many kinds
        raise WeightsError(
            f'{path}: does not fit its configuration ({error}): use weights of this version'
        ) from error
    if unexpected or missing:
        raise WeightsError(f'{path}: other tensors than its configuration says: use weights of this version')
    return model.eval().requires_grad_(False).to(device)


def export(model: Any, name: str, directory: Path, *, licence: str, command: str, **facts: Any) -> None:
    """Write a model to a folder of weights, in half precision, and list it in the registry.

    Licence, command and `facts` (seed, steps, validation; JSON-serialisable) are recorded there.
    """
    import torch
    from safetensors.torch import save_file

    smaller = {torch.float32: torch.float16, torch.int64: torch.int32}
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f'{name}.safetensors'
    state, config = {}, asdict(model.config)
    for key, value in model.state_dict().items():
        state[key] = value.detach().to('cpu', smaller.get(value.dtype, value.dtype)).contiguous()
    save_file(state, path, metadata={'config': json.dumps(config)})
    os.chmod(path, 0o644)
    listing = directory / REGISTRY
    registry = json.loads(listing.read_text(encoding='utf-8')) if listing.exists() else {}
    registry[name] = {
        'file': path.name,
        'size': path.stat().st_size,
        'sha256': sha256(path),
        'licence': licence,
        'command': command,
        'config': config,
        **facts,
    }
    listing.write_text(json.dumps(registry, indent=1) + '\n', encoding='utf-8')
