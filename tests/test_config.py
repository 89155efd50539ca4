"""The settings survive the way to TOML and back, and paths stay out of the shared form."""

import dataclasses
from pathlib import Path

import pytest

from cpmae_bids.config import RunConfig


@pytest.fixture
def config():
    return RunConfig(
        bids_dir=Path('/data/my study'),
        output_dir=Path('/out'),
        participant_label=('01', 'a"b'),
        session_label=('pre',),
        mem_gb=3.5,
        work_dir=Path('/scratch/jane'),
        seed=7,
        weights=Path('/weights'),
        verbose=2,
        overwrite=True,
    )


def test_toml_round_trip(config):
    assert RunConfig.from_toml(config.to_toml()) == config


def test_toml_round_trip_of_defaults():
    config = RunConfig(Path('in'), Path('out'))
    assert RunConfig.from_toml(config.to_toml()) == config


def test_shared_form_holds_no_path(config):
    text = config.to_toml(with_paths=False)
    assert '/' not in text
    assert 'jane' not in text
    assert 'seed = 7' in text


def test_unknown_setting_is_refused(config):
    with pytest.raises(TypeError, match='colour'):
        RunConfig.from_toml(config.to_toml() + 'colour = "red"\n')


def test_frozen(config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1
    assert config.replace(seed=1).seed == 1
