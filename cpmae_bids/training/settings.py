"""Training settings in a TOML file."""

import dataclasses
import tomllib
from pathlib import Path

from cpmae_bids.exceptions import UsageError
from cpmae_bids.models.vqvae import VQVAEConfig
from cpmae_bids.training.train_brain import BrainTraining
from cpmae_bids.training.train_mae import MAETraining
from cpmae_bids.training.train_superresolution import SuperResolutionTraining

# Settings with which the weights of the package were made
PACKAGED = Path(__file__).resolve().parent.parent / 'data' / 'training.toml'


def read_settings(path: Path | None, section: str):
    """Read the settings of one training command from a TOML file, by default the packaged one.

    Raises UsageError if the file cannot be read or has an unknown key.
    """
    path = path or PACKAGED
    try:
        values = tomllib.loads(path.read_text(encoding='utf-8'))[section]
    except OSError as error:
        raise UsageError(f'{path}: cannot be read ({error.strerror}): check --config') from error
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise UsageError(
            f'{path}: no table [{section}] ({error}): see {PACKAGED.name} in the package'
        ) from error
    if section == 'brain':
        model = _build(VQVAEConfig, values.pop('model', {}), path)
        return _build(BrainTraining, values | {'model': model}, path)
    return _build({'mae': MAETraining, 'superresolution': SuperResolutionTraining}[section], values, path)


def _build(cls, values: dict, path: Path):
    unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
    if unknown:
        raise UsageError(f'{path}: unknown setting {sorted(unknown)[0]!r} for {cls.__name__}')
    return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
