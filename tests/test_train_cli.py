"""``cpmae-bids-train`` from a prepared file to weights that the pipeline accepts."""

import subprocess
import sys

import pytest
import small_models

from cpmae_bids.cli import train
from cpmae_bids.models import weights
from cpmae_bids.models.diffeomorphism import Level
from cpmae_bids.training import data

SETTINGS = """
[brain]
steps = 1
batch = 1
crop = 8
[brain.model]
latent = 8
width = 8
decoder_blocks = 1
fine = 8
grids = [8, 16]
dims = [4, 4]
codebook = 8
[mae]
steps = 1
width = 64
depth = 1
[superresolution]
steps = 1
batch = 1
"""


def test_help_is_light():
    code = 'import sys, cpmae_bids.cli.train as t; t.get_parser(); sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_a_missing_file_is_one_line(tmp_path, capsys):
    arguments = ['head', str(tmp_path / 'no.safetensors'), str(tmp_path), '--weights', str(tmp_path)]
    assert train.main(arguments) == 64
    assert 'no.safetensors' in capsys.readouterr().err


@pytest.mark.slow
def test_from_a_prepared_file_to_weights(tmp_path, monkeypatch, capsys):
    levels = ((Level(4, 4, 1),), (Level(4, 4, 1),))  # how well is tested elsewhere
    monkeypatch.setattr('cpmae_bids.training.frame.ROUNDS', levels)
    prepared, folder, registered = tmp_path / 'heads.safetensors', tmp_path / 'weights', tmp_path / 'head'
    data.write_prepared(prepared, list(small_models.heads()[:3]), {})
    config = tmp_path / 'settings.toml'
    config.write_text(SETTINGS)
    common = ['--weights', str(folder), '--licence', 'none']
    assert train.main(['head', str(prepared), str(registered), *common, '--not-exemplars', 'person2']) == 0
    fields = sorted(path.name for path in registered.glob('person*.npy'))
    assert fields == [f'person{p}_{r}.npy' for p in range(3) for r in range(2)]
    common += ['--config', str(config)]
    assert train.main(['brain', str(prepared), str(tmp_path / 'brain'), *common, '--device', 'cpu']) == 0
    mae = ['mae', str(prepared), str(tmp_path / 'mae'), '--shapes', str(registered)]
    assert train.main([*mae, *common]) == 0
    found = weights.read_registry(folder, ('head', 'brain', 'mae'))
    assert weights.load_model(found, 'head').exemplars.count == 2
    assert weights.load_model(found, 'mae').config.faces == 6

    data.write_prepared(prepared, list(small_models.heads()[:2]), {})
    assert train.main([*mae, *common]) == 64
    assert 'other heads' in capsys.readouterr().err
