"""Detail: drawn from noise, the decoded head and the place of the brain; the same in a crop and the whole."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from test_training import ball_head  # noqa: E402

from cpmae_bids.exceptions import UsageError  # noqa: E402
from cpmae_bids.models.detail import (  # noqa: E402
    LAYERS,
    Detail,
    DetailConfig,
    Refiner,
    double,
    places,
    remoteness,
    sharpen,
)
from cpmae_bids.training import train_detail  # noqa: E402
from cpmae_bids.training.train_detail import (  # noqa: E402
    DetailTraining,
    Sharpening,
    train_refiner,
    widened,
)


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
    part = refiner(volume[crop], [noise[0][sites]])
    torch.testing.assert_close(part[inner], whole[crop][inner])


def test_with_context_a_crop_gets_it_where_all_that_counts_is_in_view():
    refiner = trained_looking(Refiner(2, 8, 1, 4, context=8))
    volume = torch.rand(1, 1, *(96,) * 3)
    noise = refiner.draw(volume)
    assert [part.shape[-1] for part in noise] == [48, 24, 12]
    start = 8 * refiner.stride  # in sites, with 64 mm beyond the place that is looked at
    crop = (..., *(slice(2 * s, 2 * s + 64) for s in (0, start // 2, start // 2)))
    sites = [
        (..., *(slice(s // k, s // k + 32 // k) for s in (0, start // 2, start // 2))) for k in (1, 2, 4)
    ]
    whole = refiner(volume, noise)
    part = refiner(volume[crop], [one[where] for one, where in zip(noise, sites, strict=True)])
    inner = (0, 0, slice(0, 2), slice(32, 34), slice(32, 34))
    torch.testing.assert_close(part[inner], whole[crop][inner])


@pytest.mark.parametrize('noisy', [0, 1, 2])
def test_noise_of_every_size_counts(noisy):
    refiner = trained_looking(Refiner(2, 8, 1, 4, context=8))
    volume = torch.rand(1, 1, *(32,) * 3)
    noise = refiner.draw(volume)
    other = [torch.randn_like(part) if k == noisy else part for k, part in enumerate(noise)]
    assert not torch.allclose(refiner(volume, noise), refiner(volume, other), atol=1e-3)


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


def test_layers_around_the_brain_follow_the_distance():
    brain = torch.zeros(1, 1, 32, 32, 32)
    brain[..., 14:18, 14:18, 14:18] = 1
    found = LAYERS * remoteness(brain)[0, 0]
    corner, face = [int(found[16 + k, 16 + k, 16 + k]) for k in range(16)], found[16:, 15, 15].int().tolist()
    assert face == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8]
    assert corner[:6] == [0, 0, 2, 4, 5, 6]  # 1.7, 3.5, 5.2 and 6.9 voxels away
    assert found[0].eq(LAYERS).all()
    assert remoteness(torch.zeros(1, 1, 8, 8, 8)).eq(1).all()


def test_the_brain_shapes_what_is_near_to_it_alone():
    detail = trained_looking(Detail(DetailConfig(widths=(4, 4), blocks=(1, 1), brain=True)))
    volume = torch.rand(1, 1, 64, 64, 64, generator=generator(1))
    brain = torch.zeros(1, 1, 64, 64, 64)
    brain[..., 4:10, 4:10, 4:10] = 1
    grown = brain.clone()
    grown[..., 10, 4:10, 4:10] = 1
    one, other = (detail.add(volume, generator(2), millimetre=False, brain=b) for b in (brain, grown))
    assert not torch.allclose(one[..., 12, 7, 7], other[..., 12, 7, 7])
    assert torch.equal(one[..., 32:, :, :], other[..., 32:, :, :])


def test_a_network_that_learns_of_the_brain_starts_where_it_was():
    config = DetailConfig(widths=(8, 8), blocks=(1, 1), place=2)
    known = trained_looking(Detail(config))
    more = widened(known, replace(config, brain=True, context=4))
    volume = torch.rand(1, 1, 16, 16, 16)
    more_known = {'displacement_mm': torch.zeros(1, 3, 32, 32, 32), 'brain': (volume > 0.5).float()}
    where = places(more_known['displacement_mm'])[..., :8, :8, :8]
    noise = more.coarse.draw(volume, generator(3))
    expected = known.coarse(volume, noise[:1], where)
    torch.testing.assert_close(more.coarse(volume, noise, where, remoteness(more_known['brain'])), expected)
    assert widened(known, config) is known
    for fewer in (
        replace(config, noise=8),
        replace(more.config, context=0),
        replace(more.config, brain=False),
    ):
        with pytest.raises(UsageError, match='differ in shape'):
            widened(known if fewer.noise == 8 else more, fewer)


def test_sharpening_makes_edges_steeper_without_rims_and_leaves_all_else():
    def ramp(voxels):
        return np.interp(np.arange(48), [24 - voxels / 2, 24 + voxels / 2], [0.3, 0.9])

    for voxels, steeper in ((4, 1.1), (24, 1.0)):
        for axis in (2, 3, 4):
            line = torch.from_numpy(ramp(voxels).astype(np.float32))
            volume = line[:, None, None].expand(48, 48, 48)[None, None].transpose(2, axis)
            sharp = sharpen(volume).transpose(2, axis)[0, 0, :, 20:28, 20:28]
            assert (sharp - sharp[:, :1, :1]).abs().max() < 1e-6
            profile = sharp[6:-6, 0, 0]
            assert profile.diff().max() >= steeper * line.diff().max() - 1e-6
            assert 0.3 - 0.05 < profile.min() <= profile.max() < 0.9 + 0.05
            if voxels > 12:
                torch.testing.assert_close(profile[12:24], line[18:30], rtol=0, atol=1e-3)


def test_sharpening_leaves_what_is_even_up_to_the_border():
    volume = torch.full((1, 1, 12, 12, 12), 0.6)
    torch.testing.assert_close(sharpen(volume), volume)


@pytest.mark.parametrize('wavelength', [3, 5, 12])
def test_doubling_keeps_waves(wavelength):
    def wave(at):
        return 0.5 + 0.4 * torch.sin(2 * torch.pi * at / wavelength)

    volume = wave(torch.arange(32.0))[:, None, None].expand(32, 32, 32)[None, None]
    for axis in (2, 3, 4):
        doubled = double(volume.transpose(2, axis)).transpose(2, axis)
        assert doubled.shape == (1, 1, 64, 64, 64)
        expected = wave((torch.arange(64) - 0.5) / 2)
        torch.testing.assert_close(doubled[0, 0, 8:-8, 9, 9], expected[8:-8], rtol=0, atol=0.02)


def test_doubled_noise_has_no_lattice():
    noise = torch.randn(1, 1, 33, 33, 33, generator=generator(0))
    noise = torch.nn.functional.avg_pool3d(noise, 2, 1)  # as rough as tissue
    steps = double(noise)[0, 0].diff(dim=0).abs().mean((1, 2))
    assert 0.9 < steps[9:-8:2].mean() / steps[8:-8:2].mean() < 1.1


def test_training_brings_detail_back(tmp_path):
    rng = np.random.default_rng(0)
    blurred = np.full((32, 32, 32), 0.6, np.float16)
    texture = rng.normal(0, 0.2, blurred.shape)
    example = Sharpening((blurred + texture).astype(np.float16), blurred, np.ones(blurred.shape, bool))
    settings = DetailTraining(batch=2, crop=6, critic=16, learning_rate=2e-3, average=0.5)
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


def test_a_discriminator_judges_off_the_lattice_of_the_network():
    seen = []

    class Judge:
        factor = 2

        def __call__(self, volume, blurred, where, remote):
            assert torch.equal(volume, blurred)
            assert torch.equal(volume, remote)
            assert where.shape == (1, 3, 7, 7, 7)
            seen.append(tuple(volume[0, 0, 0, 0, :].tolist()))
            return [], []

    volume = torch.arange(16.0).expand(1, 1, 16, 16, 16)
    torch.manual_seed(0)
    for _ in range(20):
        train_detail._off_lattice(Judge())(volume, volume, torch.zeros(1, 3, 8, 8, 8), volume)
    assert set(seen) == {tuple(map(float, range(begin, begin + 14))) for begin in (0, 1)}
