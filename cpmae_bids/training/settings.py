"""Training settings in a TOML file."""

import dataclasses
import tomllib
from pathlib import Path

from cpmae_bids.exceptions import UsageError
from cpmae_bids.training.train_brain import BrainTraining
from cpmae_bids.training.train_mae import MAETraining
from cpmae_bids.training.train_superresolution import SuperResolutionTraining

# Settings with which the weights of the package were made
PACKAGED = Path(__file__).resolve().parent.parent / 'data' / 'training.toml'
SECTIONS = {'brain': BrainTraining, 'mae': MAETraining, 'superresolution': SuperResolutionTraining}


def read_settings(path: Path | None, section: str):
    """Read the settings of one training command from a TOML file, by default the packaged one.

    Raises UsageError if the file cannot be read or has an unknown key.
    """
    path = path or PACKAGED
    try:
        with path.open('rb') as file:
            values = tomllib.load(file)[section]
    except OSError as error:
        raise UsageError(f'{path}: cannot be read ({error.strerror}): check --config') from error
    except (ValueError, KeyError) as error:
        raise UsageError(
            f'{path}: no table [{section}] ({error}): see {PACKAGED.name} in the package'
        ) from error
    return _build(SECTIONS[section], values, path)


def _build(cls, values: dict, path: Path):
    """Settings of a table, and of the table of its model."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(values.keys() - fields):
        raise UsageError(f'{path}: unknown setting {unknown[0]!r} for {cls.__name__}')
    made = {key: _build(fields[key].default_factory, v, path) for key, v in values.items() if key == 'model'}
    return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()} | made)
