"""Super-resolution: from 2 mm to 1 mm, block by block, sharper than interpolation and in the same place."""

import json

import numpy as np
import pytest
import torch

from cpmae_bids.deid.images.intensity import to_levels
from cpmae_bids.models import superresolution
from cpmae_bids.models.blocks import blocks_of_tissue
from cpmae_bids.models.superresolution import (
    CEILING,
    SuperResolution,
    SuperResolutionConfig,
    upsample_cubic,
)
from cpmae_bids.training.data import Head, write_prepared
from cpmae_bids.training.train_superresolution import (
    SURROUND,
    SuperResolutionTraining,
    composed,
    example_of,
    structure_difference,
    train_superresolution,
)

SMALL = SuperResolutionConfig(width=6, blocks=1, noise=1)


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope='module')
def model():
    """Weights that do something: a network starts as interpolation."""
    torch.manual_seed(0)
    model = SuperResolution(SMALL)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.requires_grad_(False)


def in_air(volume, air=5):
    """A volume with air around it."""
    return torch.nn.functional.pad(volume, [air] * 6)


def bumpy_head(name='sub-1', n=64):
    """A head of shells around a brain, at 1 mm; a capsule lies beside it, the lowest part is not seen."""
    where = np.indices((n, n, n), dtype=np.float32) - (n - 1) / 2
    distance = np.sqrt((where**2).sum(0))
    volume = np.where(distance < 26, 0.7 + 0.5 * np.sign(np.sin(1.6 * distance)), 0).astype(np.float32)
    volume[2:6, 2:6, 2:6] = 1
    fov = np.ones(volume.shape, bool)
    fov[:, :, :12] = False
    return Head(name, 'train', to_levels(volume * fov), distance < 12, fov)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    path = tmp_path_factory.mktemp('prepared') / 'fine.safetensors'
    write_prepared(path, [bumpy_head()], {'n': 64})
    return path


def test_starts_as_cubic_interpolation():
    volume = in_air(torch.rand(1, 1, 8, 9, 10))
    fresh = SuperResolution(SMALL)
    inner = (..., *(slice(10, -10),) * 3)
    doubled = fresh(volume, generator=generator(0))
    torch.testing.assert_close(doubled[inner], upsample_cubic(volume).clamp(0, CEILING)[inner])


def test_voxels_of_1_mm_lie_within_their_voxel_of_2_mm():
    ramp = torch.arange(12.0)[:, None, None].expand(12, 12, 12)
    for axis in range(3):
        doubled = upsample_cubic(ramp.movedim(0, axis)[None, None])[0, 0].movedim(axis, 0)[:, 5, 7]
        expected = (torch.arange(24.0) - 0.5) / 2
        torch.testing.assert_close(doubled[4:-4], expected[4:-4])


def test_the_seed_decides_and_nothing_else(model):
    volume = in_air(torch.rand(1, 1, 8, 8, 8, generator=generator(1)))
    first, again, other = (model(volume, generator=generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def test_air_stays_air_and_intensities_in_their_range(model):
    volume = in_air(3 * torch.rand(1, 1, 8, 8, 8, generator=generator(1)), 8)
    doubled = model(volume, generator=generator(1))
    assert doubled.shape == (1, 1, 48, 48, 48)
    assert doubled.min() == 0
    assert 1 < doubled.max() <= CEILING
    near = torch.zeros(doubled.shape, dtype=torch.bool)
    near[..., 14:34, 14:34, 14:34] = True
    assert not doubled[~near].any()
    assert not model(torch.zeros(1, 1, 8, 8, 8)).any()


def test_blocks_are_those_of_the_whole(model, monkeypatch):
    volume = in_air(torch.rand(1, 1, 20, 12, 26, generator=generator(1)))
    volume[..., 16:, :, :20] = 0
    whole = model(volume, generator=generator(1))
    monkeypatch.setattr(superresolution, 'BLOCK_VOXELS', 20**3)
    torch.testing.assert_close(model(volume, generator=generator(1)), whole)


def test_blocks_cover_all_tissue_once_and_are_few_enough_voxels():
    tissue = torch.zeros(40, 30, 50, dtype=torch.bool)
    tissue[3:17, 4:20, 10:] = True
    tissue[30:35, 25:, :4] = True
    times = torch.zeros(tissue.shape, dtype=torch.int)
    for box in blocks_of_tissue(tissue, 2, 4000):
        times[box] += 1
        assert np.prod([s.stop - s.start + 4 for s in box]) <= 4000
    assert times.max() == 1
    assert times[tissue].all()
    assert times.sum() < 1.2 * tissue.sum()
    assert not list(blocks_of_tissue(torch.zeros(4, 4, 4, dtype=torch.bool), 2, 4000))


def test_a_neck_that_is_cut_off_is_taken_to_go_on(model):
    neck = torch.rand(1, 1, 12, 12, 1, generator=generator(1)).expand(-1, -1, -1, -1, 30)
    model = SuperResolution(SuperResolutionConfig(width=6, blocks=1, noise=0))
    torch.nn.init.normal_(model.leave.weight, std=0.1)
    doubled = model(neck)
    torch.testing.assert_close(doubled[..., 0], doubled[..., 30])


def test_a_head_without_what_is_no_head():
    example = example_of(bumpy_head())
    volume, counts = (a[(slice(SURROUND, -SURROUND),) * 3] for a in (example.volume, example.counts))
    assert not volume[:8, :8, :8].any()  # the capsule
    assert volume[32, 32, 32] > 0
    assert not counts[26:38, 26:38, 26:38].any()  # the brain
    assert not counts[:, :, :14].any()  # not seen
    assert counts[32, 32, 55]
    assert not counts[2, 2, 40]  # air


def test_what_is_composed_lies_where_it_was():
    size = 32 + 2 * SURROUND
    where = np.indices((size,) * 3, dtype=np.float32)
    ball = np.exp(-((where - 30.2) ** 2).sum(0) / 50)
    for seed in range(6):
        halved = composed(ball, np.random.default_rng(seed))
        assert halved.shape == (16, 16, 16)
        place = (np.indices(halved.shape) * halved).reshape(3, -1).sum(1) / halved.sum()
        np.testing.assert_allclose(2 * place + 0.5, 30.2 - SURROUND, atol=0.15)


def test_structure_is_missed_in_a_blur_and_not_in_a_shift():
    where = torch.arange(40.0)[None, None, :, None, None].expand(1, 1, 40, 40, 40)
    lines, moved = torch.sin(2 * where), torch.sin(2 * (where - 1))
    across = lines.transpose(2, 3)
    assert structure_difference(lines, lines) == 0
    shifted, blurred, turned = (structure_difference(lines, v) for v in (moved, 0.3 * lines, across))
    assert shifted < 0.2 * blurred < turned
    assert (lines - moved).abs().mean() > (lines - 0.3 * lines).abs().mean()


def test_training_sharpens_and_a_resumed_run_is_the_same(prepared, tmp_path):
    config = SuperResolutionTraining(
        model=SMALL, steps=48, alone=41, batch=1, crop=12, learning_rate=5e-3, critic=4, average=0.5
    )
    once = train_superresolution(prepared, tmp_path / 'once', config, device='cpu')
    train_superresolution(prepared, tmp_path / 'twice', config, device='cpu', time_budget=1.0)
    twice = train_superresolution(prepared, tmp_path / 'twice', config, device='cpu')
    for one, other in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    log = [json.loads(line) for line in (tmp_path / 'once' / 'log.jsonl').read_text().splitlines()]
    assert [row['step'] for row in log] == [0, 20, 40]
    assert log[-1]['structure'] < 0.9 * log[0]['structure']
    example = example_of(bumpy_head())
    halved = torch.from_numpy(composed(example.volume, np.random.default_rng(1)))[None, None]
    real = torch.from_numpy(example.volume[(slice(SURROUND, -SURROUND),) * 3].astype(np.float32))[None, None]
    counts = torch.from_numpy(example.counts[(slice(SURROUND, -SURROUND),) * 3])[None, None]
    sharp, blurred = once(halved, generator=generator(0)), upsample_cubic(halved)
    volumes = (torch.where(counts, volume, real) for volume in (sharp, blurred))
    ours, cubic = (structure_difference(volume, real) for volume in volumes)
    assert ours < 0.9 * cubic
