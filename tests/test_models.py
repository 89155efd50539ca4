"""The networks: shapes, what depends on what, and that learning parts learn."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from cpmae_bids.models.mae import MAE, MAEConfig, Neighbours, degrade, group, ungroup  # noqa: E402
from cpmae_bids.models.quantizer import Codebook  # noqa: E402
from cpmae_bids.models.sampling import refine, remodel, steps_per_stage  # noqa: E402
from cpmae_bids.models.shape import Shape  # noqa: E402
from cpmae_bids.models.shape_stage import ShapeStage  # noqa: E402
from cpmae_bids.models.shuffle import pixel_shuffle, pixel_unshuffle  # noqa: E402
from cpmae_bids.models.vqvae import VQVAE, VQVAEConfig  # noqa: E402
from cpmae_bids.models.warps import deform, find_warp, invert, mirror, smooth  # noqa: E402

SMALL = VQVAEConfig(
    latent=8, width=8, encoder_blocks=1, decoder_blocks=1, fine=8, grids=(8, 16), dims=(8, 8), codebook=16
)


@pytest.fixture(scope='module')
def vqvae():
    torch.manual_seed(0)
    return VQVAE(SMALL).eval()


@pytest.fixture(scope='module')
def mae():
    torch.manual_seed(0)
    model = MAE(MAEConfig((8, 16), (8, 8), 16, 8, 8, widths=(64, 64), depths=(1, 1), live=(5, 7))).eval()
    for stage in model.stages:
        stage.live.copy_(torch.arange(len(stage.live)) * 3)
        stage.resting.fill_(2)
    return model


def test_codebook_finds_the_nearest_entry():
    book = Codebook(4, 2)
    book.entries.copy_(torch.tensor([[0.0, 0], [1, 0], [0, 1], [5, 5]]))
    assert book.indices(torch.tensor([[0.9, 0.1], [4.0, 4.0], [0.1, 0.0]])).tolist() == [1, 3, 0]


def test_encoding_never_moves_a_codebook_and_updating_does():
    torch.manual_seed(0)
    book = Codebook(8, 3)
    before, data = book.entries.clone(), torch.randn(500, 3)
    book.indices(data)
    assert torch.equal(book.entries, before)
    book.update(data, book.indices(data))
    assert not torch.equal(book.entries, before)


def test_moving_averages_lead_entries_to_their_clusters():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    book = Codebook(4, 2, decay=0.9)
    book.entries.copy_(centres + 2)
    book.restart_averages()
    for _ in range(100):
        data = centres[torch.randint(4, (64,))] + 0.1 * torch.randn(64, 2)
        book.update(data, book.indices(data))
    assert torch.cdist(book.entries, centres).min(1).values.max() < 0.2


def test_unused_entries_are_put_to_use():
    torch.manual_seed(0)
    book = Codebook(16, 2, decay=0.9)
    book.entries[8:] = 1000.0  # nothing is near
    book.restart_averages()
    for _ in range(100):
        data = torch.randn(256, 2)
        book.update(data, book.indices(data))
    assert book.entries.abs().max() < 10
    assert len(book.indices(torch.randn(2000, 2)).unique()) > 12


def test_k_means_is_no_worse_than_random_entries():
    data = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    book = Codebook(32, 4)

    def error():
        return (data - book.lookup(book.indices(data))).square().mean()

    book.entries.copy_(data[:32])
    start = error()
    book.fit(data, generator=torch.Generator().manual_seed(0))
    assert error() < 0.9 * start


def test_pixel_shuffle_undoes_itself():
    x = torch.arange(2 * 3 * 8**3).float().view(2, 3, 8, 8, 8)
    assert torch.equal(pixel_shuffle(pixel_unshuffle(x, 4), 4), x)
    # voxel (1, 0, 1) of a 2^3 block is channel 5: x before y before z
    assert pixel_unshuffle(x, 2)[0, 5, 0, 0, 0] == x[0, 0, 1, 0, 1]


def test_group_undoes_itself():
    x = torch.arange(2 * 16**3).view(2, 1, 16, 16, 16)
    rows = group(x, 8)
    assert rows.shape == (2, 512, 8)
    assert torch.equal(ungroup(rows, 16), x[:, 0])


@pytest.mark.parametrize('n', [128, 256])
def test_codes_and_volume_have_the_shapes_of_the_cube(vqvae, n):
    codes = vqvae.encode(torch.rand(1, 1, n, n, n))
    assert [tuple(level.shape) for level in codes] == [(1, 8, 8, 8), (1, 16, 16, 16)]
    assert all(level.dtype == torch.int64 for level in codes)
    assert vqvae.decode(codes).shape == (1, 1, 128, 128, 128)


def test_both_presets_give_the_same_codes_for_the_same_head(vqvae):
    coarse = torch.rand(1, 1, 128, 128, 128, generator=torch.Generator().manual_seed(0))
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    for a, b in zip(vqvae.encode(coarse), vqvae.encode(fine), strict=True):
        assert (a == b).float().mean() > 0.99


def test_quantised_latent_is_what_the_codes_stand_for(vqvae):
    volume = torch.rand(1, 1, 128, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        quantized = vqvae.quantize(vqvae.encode_latent(volume))
    torch.testing.assert_close(quantized.latent, vqvae.latent_of(quantized.codes), atol=1e-4, rtol=1e-4)


def test_gradients_reach_the_encoder_through_the_codes():
    torch.manual_seed(0)
    model = VQVAE(SMALL)
    output, quantized = model(torch.rand(1, 1, 64, 64, 64), update=True)
    (output.square().mean() + quantized.commitment).backward()
    assert model.stem.weight.grad.abs().sum() > 0


def test_the_code_hash_ignores_the_decoder():
    torch.manual_seed(0)
    model = VQVAE(SMALL)
    before = model.code_hash()
    torch.nn.init.normal_(model.to_voxels.weight)
    assert model.code_hash() == before
    torch.nn.init.normal_(model.stem.weight)
    assert model.code_hash() != before


def test_degradation_hides_the_share_that_it_is_told():
    codes = torch.randint(0, 16, (64, 100, 8), generator=torch.Generator().manual_seed(0))
    share = torch.linspace(0, 1, 64)
    degraded, corrupted = degrade(codes, share, 16, generator=torch.Generator().manual_seed(0))
    hidden = (degraded == 16).float().mean((1, 2))
    torch.testing.assert_close(hidden, share, atol=0.02, rtol=0)
    assert torch.equal(degraded[~corrupted], codes[~corrupted])


def test_remodelling_is_a_function_of_brain_and_seed_alone(mae, vqvae):
    generator = torch.Generator().manual_seed(3)
    brain = [torch.randint(0, 16, (1, g, g, g), generator=generator) for g in (8, 16)]

    def run(seed, codes=brain):
        return remodel(mae, vqvae, vqvae, codes, seed=seed, steps=4)

    first, again, other = run(1), run(1), run(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    changed = [15 - level for level in brain]
    assert any(not torch.equal(a, b) for a, b in zip(first, run(1, changed), strict=True))


def test_air_sites_rest(mae, vqvae):
    brain = [torch.zeros(1, g, g, g, dtype=torch.int64) for g in (8, 16)]
    coarse = remodel(mae, vqvae, vqvae, brain, seed=1, steps=3)[0].flatten()
    resting = np.setdiff1d(np.arange(512), mae.stages[0].live.numpy())
    assert (coarse[torch.from_numpy(resting)] == 2).all()
    assert int(coarse.max()) < 16  # nothing stays unknown


@pytest.mark.parametrize('steps', [1, 2, 7])
def test_every_number_of_rounds_ends_with_all_codes_known(mae, steps):
    brain = torch.zeros(2, 8, 32, 32, 32)
    codes = refine(mae.stages[0], None, brain, steps=steps, generator=torch.Generator().manual_seed(0))
    assert codes.shape == (2, 8, 8, 8)
    assert int(codes.max()) < 16


class _Undecided:
    """A level of 1000 codes, each of them 1 with a probability of 0.3, whatever else is known."""

    live, members, unknown = range(1000), 1, 2

    def __call__(self, codes, context, brain, share):
        return torch.tensor([0.7, 0.3]).log().expand(*codes.shape, 2)

    def scatter(self, codes):
        return codes


def test_draws_are_as_spread_as_the_model_says():
    """Were the surest draws kept first, the rarer code would be drawn anew again and again."""
    drawn = refine(_Undecided(), None, torch.zeros(4), steps=12, generator=torch.Generator().manual_seed(0))
    assert drawn.float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_a_random_number_generator_elsewhere_changes_nothing(mae, vqvae):
    brain = [torch.zeros(1, g, g, g, dtype=torch.int64) for g in (8, 16)]
    torch.manual_seed(1)
    first = remodel(mae, vqvae, vqvae, brain, seed=5, steps=2)
    torch.manual_seed(2)
    assert torch.equal(first[1], remodel(mae, vqvae, vqvae, brain, seed=5, steps=2)[1])


def test_coarse_levels_take_most_rounds():
    assert steps_per_stage(12, 5) == [12, 7, 4, 3, 2]
    assert steps_per_stage(1, 3) == [1, 1, 1]


def test_before_training_the_model_is_a_unigram():
    stage = MAE(MAEConfig((8,), (8,), 16, 8, 8, widths=(64,), depths=(1,), live=(5,))).stages[0].eval()
    frequencies = torch.rand(5, 1, 16) + 0.1
    frequencies /= frequencies.sum(-1, keepdim=True)
    stage.know_codes(torch.randn(16, 8), frequencies)
    codes = torch.full((2, 5, 1), stage.unknown)
    logits = stage(codes, None, torch.randn(2, 8, 32, 32, 32), torch.ones(2))
    torch.testing.assert_close(logits.softmax(-1), frequencies.expand(2, -1, -1, -1))


def test_codes_are_chosen_by_the_distance_of_their_vectors():
    config = MAEConfig((32,), (8,), 16, 8, 8, widths=(64,), depths=(1,), live=(5,))
    stage, entries = MAE(config).stages[0], torch.randn(16, 8)
    stage.know_codes(entries, torch.full((5, 64, 16), 1 / 16))
    assert stage.prior is None  # the finest level has no table of frequencies
    assert torch.equal(stage.logits(entries / entries.std()).argmax(1), torch.arange(16))
    assert (stage.embed.weight[stage.unknown] == 0).all()


def test_neighbours_are_those_in_space():
    torch.manual_seed(0)
    layer, live = Neighbours(4), torch.tensor([0, 1, 8, 64, 2])  # grid of 8^3, the last axis fastest
    x = torch.zeros(1, 5, 4)
    x[0, 0] = torch.tensor([1.0, -1, 2, 0])
    moved = (layer(x, live) - x - layer.conv.bias).abs().sum(-1)[0]
    assert (moved[:4] > 0).all()
    assert moved[4] == 0  # two steps away


def test_shape_codes_are_steps_of_a_standard_deviation():
    torch.manual_seed(0)
    fields = torch.einsum('nk,kcxyz->ncxyz', torch.randn(20, 3), torch.randn(3, 3, 32, 32, 32))
    shape = Shape(1)
    shape.fit(fields, torch.zeros(1, 1, 128, 128, 128))
    scores = shape.values(shape.encode(fields)).flatten()
    assert abs(float(scores.mean())) < 0.05
    assert abs(float(scores.std()) - 1) < 0.05
    shape = Shape(2)  # three of its eight components are needed
    shape.fit(fields, torch.zeros(1, 1, 128, 128, 128))
    error = shape.decode(shape.encode(fields)) - fields
    assert float(error.square().mean() / fields.square().mean()) < 0.01


@pytest.fixture(scope='module')
def shape_stage():
    """Eight scores that depend on each other and on where the brain lies."""
    torch.manual_seed(0)
    stage = ShapeStage(2, 8, 64, 1).eval()
    brains = torch.rand(400, 16**3)
    mixing = torch.randn(8, 8) / 3
    scores = torch.randn(400, 8) @ mixing
    stage.fit(scores, brains, ridge=1.0, shrinkage=0.0)
    return stage, mixing.T @ mixing


def test_before_training_the_shape_is_conditionally_gaussian(shape_stage):
    stage, covariance = shape_stage
    features = torch.zeros(1, stage.brain_basis.shape[0])
    codes = torch.full((1, 8), stage.unknown)
    mean, deviation = stage.conditional(codes, features)
    torch.testing.assert_close(mean, torch.zeros(1, 8))
    torch.testing.assert_close(deviation[0], covariance.diagonal().sqrt(), rtol=0.25, atol=0.05)
    codes[0, 2:] = 40
    mean, deviation = stage.conditional(codes, features)
    cross, known = covariance[:2, 2:], covariance[2:, 2:]
    expected = cross @ torch.linalg.solve(known, Shape.values(codes[0, 2:]))
    torch.testing.assert_close(mean[0, :2], expected, rtol=0.3, atol=0.15)
    assert (deviation[0, :2] < covariance.diagonal()[:2].sqrt() * 1.1).all()


def test_four_times_the_temperature_is_twice_the_spread(shape_stage):
    stage, covariance = shape_stage
    brain = torch.zeros(300, 8, 32, 32, 32)

    def deviations(temperature):
        generator = torch.Generator().manual_seed(0)
        codes = refine(stage, None, brain, steps=8, generator=generator, temperature=temperature)
        return Shape.values(codes.flatten(1)).std(0)

    usual = deviations(1.0)
    torch.testing.assert_close(usual, covariance.diagonal().sqrt(), rtol=0.3, atol=0.1)
    within = usual < 0.9  # codes end at 3.2
    assert 1.6 < float((deviations(4.0) / usual)[within].mean()) < 2.1


def test_shape_is_drawn_around_the_brain_and_decides_the_head(shape_stage):
    torch.manual_seed(0)
    config = MAEConfig((8,), (8,), 16, 8, 8, widths=(64,), depths=(1,), live=(5,), shape=2, shape_width=64)
    mae, head = MAE(config).eval(), VQVAE(VQVAEConfig(**{**SMALL.to_dict(), 'shape': 2})).eval()
    mae.stages[0].precision.copy_(shape_stage[0].precision)
    mae.stages[1].resting.fill_(2)
    mae.stages[1].live.copy_(torch.arange(5))
    brain = VQVAE(SMALL).eval()
    condition = [torch.zeros(1, g, g, g, dtype=torch.int64) for g in (8, 16)]
    codes = [remodel(mae, head, brain, condition, seed=seed, steps=3) for seed in (1, 2)]
    assert [tuple(level.shape) for level in codes[0]] == [(1, 2, 2, 2), (1, 8, 8, 8)]
    assert not torch.equal(codes[0][0], codes[1][0])
    head.shape.components.normal_(0, 3)
    first, second = (head.decode([c[0], *codes[0][1:]]) for c in codes)
    assert float((first - second).abs().mean()) > 1e-5


def test_a_smooth_deformation_can_be_undone():
    field = 6 * torch.sin(torch.arange(32) / 6).view(1, 1, 32, 1, 1).expand(1, 3, 32, 32, 32)
    grid = torch.linspace(0, 3, 64)
    volume = (grid.sin()[:, None, None] + grid.cos()[None, :, None] + grid[None, None]).view(1, 1, 64, 64, 64)
    again = deform(deform(volume, invert(field)), field)
    assert (again - volume)[..., 8:-8, 8:-8, 8:-8].abs().max() < 0.05
    assert (deform(volume, field) - volume).abs().max() > 0.1


def test_a_mirrored_head_has_the_mirrored_displacement():
    volume, field = torch.rand(1, 1, 32, 32, 32), torch.randn(1, 3, 32, 32, 32)
    torch.testing.assert_close(deform(volume.flip(2), mirror(field)), deform(volume, field).flip(2))


def test_a_warp_takes_a_head_onto_the_template():
    def ball(radius):
        centre = torch.stack(torch.meshgrid(*[torch.arange(64) - 31.5] * 3, indexing='ij'))
        return (radius - centre.square().sum(0).sqrt()).clamp(0, 1)[None, None]

    head, template = ball(18), ball(15)
    warped = deform(template, find_warp(head, template))
    assert (warped - head).abs().mean() < 0.35 * (template - head).abs().mean()


def test_no_displacement_changes_nothing():
    volume = torch.rand(1, 2, 16, 16, 16)
    torch.testing.assert_close(deform(volume, torch.zeros(1, 3, 32, 32, 32)), volume)


def test_smoothed_shapes_keep_slopes():
    ramp = torch.arange(32.0).view(1, 1, 32, 1, 1) + torch.arange(3.0).view(1, 3, 1, 1, 1)
    ramp = ramp.expand(1, 3, 32, 32, 32)
    assert torch.allclose(smooth(ramp)[:, :, 1:-1], ramp[:, :, 1:-1], atol=1e-5)
    waves = torch.tensor([1.0, -1]).repeat(16).view(1, 1, 32, 1, 1).expand(1, 3, 32, 32, 32)
    assert smooth(waves)[:, :, 1:-1].abs().max() < 1e-5
