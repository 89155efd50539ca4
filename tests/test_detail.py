"""Detail: drawn from noise and the decoded head alone, the same in a crop as in the whole."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from test_training import ball_head  # noqa: E402

from cpmae_bids.models.detail import Detail, DetailConfig, Refiner, double, places  # noqa: E402
from cpmae_bids.training import train_detail  # noqa: E402
from cpmae_bids.training.train_detail import DetailTraining, Sharpening, train_refiner  # noqa: E402


def trained_looking(model):
    """Weights that do something: a network starts as the identity."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.requires_grad_(False)


@pytest.fixture(scope='module')
def detail():
    return trained_looking(Detail(DetailConfig(widths=(8, 8), blocks=(1, 1))))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_starts_as_the_identity():
    volume = torch.rand(1, 1, 16, 16, 16)
    fresh = Detail(DetailConfig(widths=(8, 8), blocks=(1, 1)))
    assert torch.equal(fresh.add(volume, generator(0), millimetre=False), volume)
    assert torch.equal(fresh.add(volume, generator(0), millimetre=True), double(volume))


@pytest.mark.parametrize('millimetre', [False, True])
def test_the_seed_decides_and_nothing_else(detail, millimetre):
    volume = torch.rand(1, 1, 16, 16, 16, generator=generator(1))
    first, again, other = (detail.add(volume, generator(s), millimetre=millimetre) for s in (1, 1, 2))
    assert first.shape[-1] == (32 if millimetre else 16)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize('voxel', [1, 2])
def test_a_crop_gets_the_detail_of_the_whole(voxel):
    refiner = trained_looking(Refiner(voxel, 8, 1, 4))
    factor, edge = 4 // voxel, 16
    volume = torch.rand(1, 1, *(factor * edge,) * 3)
    noise = refiner.draw(volume)
    crop = (..., *(slice(factor * 4, factor * 13),) * 3)
    sites = (..., *(slice(4, 13),) * 3)
    inner = (..., *(slice(factor * 4, factor * 4 + 1),) * 3)  # four convolutions reach four sites
    whole = refiner(volume, noise)
    part = refiner(volume[crop], noise[sites])
    torch.testing.assert_close(part[inner], whole[crop][inner])


def test_places_follow_the_deformation():
    where = places(torch.zeros(1, 3, 32, 32, 32))
    assert where.shape == (1, 3, 64, 64, 64)
    axis = (torch.arange(64) + 0.5) / 32 - 1
    torch.testing.assert_close(where[0, 1, 5, :, 7], axis)
    moved = places(torch.full((1, 3, 32, 32, 32), 12.8))
    torch.testing.assert_close(moved - where, torch.full_like(where, 0.1))


def test_what_is_known_of_a_place_changes_its_detail():
    refiner = trained_looking(Refiner(2, 8, 1, 4, 3))
    volume = torch.rand(1, 1, 16, 16, 16)
    noise = refiner.draw(volume)
    here, there = (torch.full((1, 3, 8, 8, 8), value) for value in (-0.5, 0.5))
    assert torch.equal(refiner(volume, noise, here), refiner(volume, noise, here))
    assert not torch.allclose(refiner(volume, noise, here), refiner(volume, noise, there))


def test_training_brings_detail_back(tmp_path):
    rng = np.random.default_rng(0)
    blurred = np.full((32, 32, 32), 0.6, np.float16)
    texture = rng.normal(0, 0.2, blurred.shape)
    example = Sharpening((blurred + texture).astype(np.float16), blurred, np.ones(blurred.shape, bool))
    settings = DetailTraining(steps=200, batch=2, crop=6, learning_rate=2e-3, average=0.5)
    refiner = train_refiner(Refiner(2, 8, 1, 4), [example], tmp_path, settings, 200, device='cpu')
    volume = torch.full((1, 1, 16, 16, 16), 0.6)
    with torch.no_grad():
        spread = refiner(volume, refiner.draw(volume)).std()
    assert 0.05 < spread < 0.6
    log = (tmp_path / 'log.jsonl').read_text()
    train_refiner(Refiner(2, 8, 1, 4), [example], tmp_path, settings, 200, device='cpu')
    assert (tmp_path / 'log.jsonl').read_text() == log  # complete: nothing is done twice


def test_heads_lose_their_detail_and_keep_their_brain_out_of_it():
    head = ball_head('sub-1', 30, 'train')
    (example,) = train_detail.halved([head])
    assert example.real.shape == example.blurred.shape
    assert not example.valid[head.brain].any()
    assert not example.valid[~head.fov].any()
    difference = (example.real.astype(np.float32) - example.blurred)[example.valid]
    assert 0 < np.abs(difference).mean() < 0.2
