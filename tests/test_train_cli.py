"""``cpmae-bids-train`` from a prepared file to weights that the pipeline accepts."""

import subprocess
import sys

import pytest

torch = pytest.importorskip('torch')

from test_training import ball_head  # noqa: E402

from cpmae_bids.cli import train  # noqa: E402
from cpmae_bids.models import weights  # noqa: E402
from cpmae_bids.models.vqvae import VQVAE, VQVAEConfig  # noqa: E402
from cpmae_bids.training import data  # noqa: E402

SETTINGS = """
[{which}]
steps = 1
batch = 1
crop = 8
[{which}.model]
latent = 8
width = 8
encoder_blocks = 0
decoder_blocks = 1
fine = 8
grids = [8, 16]
dims = [4, 4]
codebook = 8
shape = {shape}
"""

MAE_SETTINGS = """
[mae]
steps = 2
tokens = 1
together = 1
turns = [1, 0, 1]
batches = [2, 0, 2]
widths = [64, 64]
depths = [1, 1]
shape_width = 64
shape_depth = 1
"""

DETAIL_SETTINGS = """
[detail]
steps = 1
fine_steps = 1
batch = 1
crop = 6
[detail.model]
widths = [8, 8]
blocks = [1, 1]
"""


def test_help_is_light():
    code = 'import sys, cpmae_bids.cli.train as t; t.get_parser(); sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_a_missing_file_is_one_line(tmp_path, capsys):
    arguments = ['vqvae', 'head', str(tmp_path / 'no.safetensors'), str(tmp_path), '--weights', str(tmp_path)]
    assert train.main(arguments) == 64
    assert 'no.safetensors' in capsys.readouterr().err


@pytest.mark.slow
def test_two_vqvaes_and_a_masked_autoencoder(tmp_path, monkeypatch):
    monkeypatch.setattr('cpmae_bids.training.tokens.SHARD', 3)
    monkeypatch.setattr(
        'cpmae_bids.models.warps.SCHEDULE', ((8, 16, 5), (32, 16, 1))
    )  # how well is tested elsewhere
    monkeypatch.setattr('cpmae_bids.training.align.ROUNDS', 1)
    prepared, folder = tmp_path / 'heads.safetensors', tmp_path / 'weights'
    splits = ('train', 'train', 'validation', 'validation', 'validation')
    heads = [ball_head(f'sub-{k}', 30 + 2 * k, split) for k, split in enumerate(splits)]
    data.write_prepared(prepared, heads, {})
    config = tmp_path / 'settings.toml'
    config.write_text(
        SETTINGS.format(which='brain', shape=0)
        + SETTINGS.format(which='head', shape=2)
        + MAE_SETTINGS
        + DETAIL_SETTINGS
    )
    common = ['--weights', str(folder), '--config', str(config), '--device', 'cpu', '--licence', 'none']
    for which in ('brain', 'head'):
        assert train.main(['vqvae', which, str(prepared), str(tmp_path / which), *common]) == 0
    assert train.main(['mae', str(prepared), str(tmp_path / 'mae'), *common]) == 0
    detail = ['detail', str(prepared), str(tmp_path / 'detail'), '--fine', str(prepared)]
    assert train.main([*detail, *common]) == 0
    found = weights.resolve_weights(folder)
    mae = weights.load_model(found, 'mae')
    assert mae.firsts == [0, 1, 2]
    assert mae.config.mixed_sites == len(mae.stages[1].live) > 0
    assert (tmp_path / 'mae' / 'preview.png').exists()

    # Training that starts from these weights and has no time ends with the same weights, but for how shape
    # follows the brain, which is fitted anew, as mixtures of the same heads are
    config.write_text(config.read_text().replace('steps = 1', 'steps = 0').replace('steps = 2', 'steps = 0'))
    again = tmp_path / 'again'
    common[1] = str(again)
    start = ['--from-weights', str(folder)]
    for which in ('brain', 'head'):
        assert train.main(['vqvae', which, str(prepared), str(tmp_path / f'{which}2'), *common, *start]) == 0
    assert train.main(['mae', str(prepared), str(tmp_path / 'mae2'), *common, *start]) == 0
    assert train.main([*detail, *common, *start]) == 0
    same = weights.resolve_weights(again)
    for name in ('brain', 'head', 'detail', 'mae'):
        first, second = (weights.load_model(registry, name).state_dict() for registry in (found, same))
        # moving averages of codebooks are no part of exported weights
        kept = [
            key for key in first if not key.startswith('stages.0.') and not key.endswith(('sums', 'uses'))
        ]
        assert all(torch.equal(first[key], second[key]) for key in kept), name
    assert not second['stages.0.shift.weight'].any()
    config.write_text(config.read_text().replace('codebook = 8', 'codebook = 16'))
    assert train.main(['vqvae', 'head', str(prepared), str(tmp_path / 'head3'), *common, *start]) == 64


def test_a_head_without_shape_codes_is_refused(tmp_path, capsys):
    config = VQVAEConfig(
        latent=8, width=8, encoder_blocks=0, decoder_blocks=1, fine=8, grids=(8,), dims=(4,), codebook=8
    )
    for name in ('brain', 'head'):
        weights.export(VQVAE(config), name, tmp_path / 'weights', licence='none', command='none')
    prepared = tmp_path / 'heads.safetensors'
    prepared.touch()
    assert (
        train.main(['mae', str(prepared), str(tmp_path / 'mae'), '--weights', str(tmp_path / 'weights')])
        == 64
    )
    assert 'shape > 0' in capsys.readouterr().err
