"""Coarse volumes that are drawn together."""

import pytest

torch = pytest.importorskip('torch')

from cpmae_bids.exceptions import UsageError  # noqa: E402
from cpmae_bids.models.mae import MAE, MAEConfig  # noqa: E402
from cpmae_bids.models.mixture import Mixture  # noqa: E402
from cpmae_bids.models.sampling import complete, remodel  # noqa: E402
from cpmae_bids.models.vqvae import SITES, VQVAE, VQVAEConfig  # noqa: E402
from cpmae_bids.training.train_detail import DetailTraining, train_detail  # noqa: E402

HEADS, LATENT = 40, 4
SMALL = VQVAEConfig(
    latent=LATENT,
    width=8,
    encoder_blocks=0,
    decoder_blocks=1,
    fine=8,
    grids=(8, 16, 32),
    dims=(4, 4, 4),
    codebook=16,
)


@pytest.fixture(scope='module')
def latents():
    """Heads of three kinds of tissue, of which two share their brightness; nothing differs elsewhere."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(HEADS, 2, generator=generator)
    volumes = torch.zeros(HEADS, LATENT, SITES, SITES, SITES)
    volumes[:, 0, 4:8, 4:8, 4:8] = 3 + scores[:, 0, None, None, None]
    volumes[:, 0, 20:24, 4:8, 4:8] = 3 + scores[:, 0, None, None, None]
    volumes[:, 1, 4:8, 20:24, 4:8] = 2 * scores[:, 1, None, None, None]
    return volumes


@pytest.fixture(scope='module')
def mixture(latents):
    model = Mixture(LATENT, volumes=2, sites=0, channels=2, components=6)
    model.fit(latents)
    return model


def test_only_sites_that_differ_are_drawn(mixture, latents):
    differs = (latents.var(0).sum(0) > 0).flatten()
    assert torch.equal(mixture.live, differs.nonzero()[:, 0])
    drawn = mixture.draw(3, torch.Generator().manual_seed(1))
    assert drawn.shape == (3, *latents.shape[1:])
    assert not drawn.flatten(2)[:, :, ~differs].any()


def test_draws_have_mean_and_spread_of_the_heads(mixture, latents):
    drawn = mixture.draw(2000, torch.Generator().manual_seed(1)).flatten(2)[:, :, mixture.live]
    real = latents.flatten(2)[:, :, mixture.live]
    torch.testing.assert_close(drawn.mean(0), real.mean(0), atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.std(0), real.std(0), atol=0.1, rtol=0.05)


def test_what_goes_together_is_drawn_together(mixture):
    drawn = mixture.draw(200, torch.Generator().manual_seed(1))
    one, other, free = drawn[:, 0, 5, 5, 5], drawn[:, 0, 21, 5, 5], drawn[:, 1, 5, 21, 5]
    assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 0.99
    assert abs(torch.corrcoef(torch.stack([one, free]))[0, 1]) < 0.3


def test_what_components_leave_out_is_made_up_for():
    """Sites vary as they do in the heads although two components say a third of it."""
    volumes = torch.zeros(HEADS, LATENT, SITES, SITES, SITES)
    volumes[:, 0, :4, :4, :4] = torch.randn(HEADS, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    model = Mixture(LATENT, volumes=1, sites=0, channels=1, components=16)
    model.fit(volumes)
    drawn = model.draw(2000, torch.Generator().manual_seed(1)).var(0).sum()
    assert float(drawn / volumes.var(0).sum()) == pytest.approx(1, abs=0.1)


def test_draws_are_nobodys(latents):
    """Heads that have nothing in common: no draw is as near to any of them as half of their distance."""
    heads = torch.zeros(HEADS, LATENT, SITES, SITES, SITES)
    heads[:, :, :8, :8, :8] = torch.randn(HEADS, LATENT, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    model = Mixture(LATENT, volumes=1, sites=0, channels=LATENT, components=HEADS)
    model.fit(heads)
    drawn = model.draw(50, torch.Generator().manual_seed(1))
    between = torch.cdist(heads.flatten(1), heads.flatten(1))
    assert torch.cdist(drawn.flatten(1), heads.flatten(1)).min() > 0.5 * between[between > 0].mean()


def _model(latents):
    torch.manual_seed(0)
    config = MAEConfig(
        SMALL.grids,
        SMALL.dims,
        SMALL.codebook,
        LATENT,
        LATENT,
        widths=(64,) * 3,
        depths=(1,) * 3,
        live=(0, 0, 5),
        together=2,
        mixed_channels=2,
        mixed_components=6,
    )
    mae, head = MAE(config).eval(), VQVAE(SMALL).eval()
    mae.stages[0].fit(latents)
    mae.stages[1].live.copy_(torch.arange(5))
    return mae, head


def test_coarse_volumes_come_from_the_mixture_and_fine_ones_from_the_transformer(latents):
    mae, head = _model(latents)
    assert mae.firsts == [0, 2]
    brain = [torch.zeros(2, g, g, g, dtype=torch.int64) for g in SMALL.grids]
    codes = remodel(mae, head, head, brain, seed=1, steps=3)
    assert [tuple(level.shape) for level in codes] == [(2, g, g, g) for g in SMALL.grids]
    wanted = head.quantize(mae.stages[0].draw(2, torch.Generator().manual_seed(1))).codes
    assert all(torch.equal(a, b) for a, b in zip(codes[:2], wanted, strict=False))
    assert not torch.equal(codes[0][0], codes[0][1])
    again = remodel(mae, head, head, brain, seed=1, steps=3)
    assert all(torch.equal(a, b) for a, b in zip(codes, again, strict=True))


def test_volumes_that_are_drawn_together_are_known_together(latents):
    mae, head = _model(latents)
    condition = torch.zeros(1, LATENT, SITES, SITES, SITES)
    known = [torch.zeros(1, g, g, g, dtype=torch.int64) for g in SMALL.grids]
    for count in (0, 2, 3):
        done = complete(mae, head, condition, known[:count], generator=torch.Generator().manual_seed(0))
        assert len(done) == 3
        assert all(torch.equal(a, b) for a, b in zip(done, known[:count], strict=False))
    with pytest.raises(ValueError, match='drawn together'):
        complete(mae, head, condition, known[:1], generator=torch.Generator().manual_seed(0))


def test_settings_that_part_them_are_refused_before_any_head_is_read(latents, tmp_path):
    mae, head = _model(latents)
    missing = tmp_path / 'no.safetensors'
    with pytest.raises(UsageError, match='set it to 0, 2 or 3'):
        train_detail(mae, head, head, missing, missing, tmp_path, DetailTraining(known=1))
