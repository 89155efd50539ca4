"""The settings as TOML, and without paths where they are shared."""

import tomllib
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


def test_toml_has_settings(config):
    written = tomllib.loads(config.to_toml())['run']
    assert written['participant_label'] == ['01', 'a"b']
    assert written['mem_gb'] == 3.5


def test_toml_holds_no_path(config):
    text = config.to_toml()
    assert '/' not in text
    assert 'jane' not in text
    assert 'seed = 7' in text
