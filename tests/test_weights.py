"""Weights: whole, where they should be, and refused otherwise."""

import json
import shutil

import pytest
import torch

from cpmae_bids.exceptions import WeightsError
from cpmae_bids.models import weights
from cpmae_bids.models.head import HeadVQVAE, HeadVQVAEConfig
from cpmae_bids.models.mae import MAE, MAEConfig
from cpmae_bids.models.superresolution import SuperResolution, SuperResolutionConfig
from cpmae_bids.models.vqvae import VQVAE, VQVAEConfig

SMALL = VQVAEConfig(latent=8, width=8, decoder_blocks=1, fine=8, grids=(8,), dims=(8,), codebook=16)


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')
    torch.manual_seed(0)
    models = {
        'brain': VQVAE(SMALL),
        'head': HeadVQVAE(HeadVQVAEConfig(count=2, size=100, sites=8)),
        'mae': MAE(MAEConfig(sites=8, features=12, tokens=4, faces=4, width=64, depth=1)),
        'superresolution': SuperResolution(SuperResolutionConfig(width=8, blocks=1)),
    }
    for name, model in models.items():
        weights.export(model, name, folder, licence='none', command='test')
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / 'weights')


def test_what_is_written_is_read(folder):
    found = weights.resolve_weights(folder)
    torch.manual_seed(0)
    original = VQVAE(SMALL)
    loaded = weights.load_model(found, 'brain')
    torch.testing.assert_close(loaded.stem.weight, original.stem.weight, atol=1e-3, rtol=1e-3)
    assert loaded.stem.weight.dtype == torch.float32
    assert not loaded.training
    assert weights.load_model(found, 'mae').appearance.slot.dtype == torch.int64
    assert weights.load_model(found, 'head').exemplars.data.dtype == torch.uint8


def test_argument_before_variable_before_package(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(weights.VARIABLE, str(folder))
    assert weights.resolve_weights().directory == folder
    other = shutil.copytree(folder, tmp_path / 'other')
    assert weights.resolve_weights(other).directory == other


def test_packaged_weights_are_whole_and_small():
    found = weights.resolve_weights(weights.PACKAGED)
    assert sum(found.path(name).stat().st_size for name in weights.MODELS) < 60 * 2**20
    assert all(found.registry[name]['licence'] and found.registry[name]['command'] for name in weights.MODELS)


def test_a_truncated_file_is_named(folder):
    path = folder / 'mae.safetensors'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r'mae\.safetensors.*bytes'):
        weights.resolve_weights(folder)


def test_one_flipped_bit_is_found(folder):
    path = folder / 'head.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r'head\.safetensors.*sha256'):
        weights.resolve_weights(folder)


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"brain": 1}', '{"brain": {"file": "x"}}'])
def test_a_broken_registry_is_one_line(folder, text):
    (folder / weights.REGISTRY).write_text(text)
    with pytest.raises(WeightsError) as error:
        weights.resolve_weights(folder)
    assert '\n' not in str(error.value)


def test_a_missing_folder_or_file_is_named(folder, tmp_path):
    with pytest.raises(WeightsError, match='nowhere'):
        weights.resolve_weights(tmp_path / 'nowhere')
    (folder / 'brain.safetensors').unlink()
    with pytest.raises(WeightsError, match=r'brain\.safetensors'):
        weights.resolve_weights(folder)


def test_another_shape_is_refused(folder):
    registry = json.loads((folder / weights.REGISTRY).read_text())
    registry['brain']['config']['width'] = 16
    (folder / weights.REGISTRY).write_text(json.dumps(registry))
    with pytest.raises(WeightsError, match='does not fit'):
        weights.load_model(weights.resolve_weights(folder), 'brain')


def test_the_hash_tells_models_apart(folder):
    before = weights.resolve_weights(folder).model_hash
    torch.manual_seed(1)
    weights.export(VQVAE(SMALL), 'brain', folder, licence='none', command='test')
    assert weights.resolve_weights(folder).model_hash != before
