"""Registration and fields: inverses, composition, mirror images."""

import pytest
import torch

from cpmae_bids.models import diffeomorphism as diffeo
from cpmae_bids.models.diffeomorphism import Level

SHAPE = (24, 28, 20)


def smooth_field(seed: int, voxels: float) -> torch.Tensor:
    torch.manual_seed(seed)
    field = diffeo.gaussian(torch.randn(1, 3, *SHAPE), 4.0)
    return field * (voxels / field.abs().max())


def ball(centre, radius: float) -> torch.Tensor:
    points = diffeo.points(SHAPE)
    away = (points - torch.tensor(centre, dtype=torch.float32).view(1, 3, 1, 1, 1)).square().sum(1).sqrt()
    return torch.sigmoid(radius - away)[:, None]


def test_no_displacement_changes_nothing():
    volume = torch.rand(1, 2, *SHAPE)
    torch.testing.assert_close(diffeo.sample(volume, torch.zeros(1, 3, *SHAPE)), volume, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('seed', range(3))
def test_an_inverse_undoes_a_field(seed):
    field = smooth_field(seed, 2.0)
    inner = (..., slice(5, -5), slice(5, -5), slice(5, -5))
    there_and_back = diffeo.compose(field, diffeo.invert(field))
    assert there_and_back[inner].abs().max() < 0.02


def test_composition_is_one_map_after_the_other():
    volume = diffeo.gaussian(torch.rand(1, 1, *SHAPE), 2.0)
    first, second = smooth_field(1, 1.0), smooth_field(2, 1.0)
    at_once = diffeo.sample(volume, diffeo.compose(first, second))
    in_turn = diffeo.sample(diffeo.sample(volume, first), second)
    inner = (..., slice(4, -4), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(at_once[inner], in_turn[inner], atol=0.01, rtol=0)


def test_a_mirrored_head_has_the_mirrored_field():
    volume, field = torch.rand(1, 1, *SHAPE), smooth_field(3, 2.0)
    mirrored = diffeo.sample(volume.flip(2), diffeo.mirror(field))
    torch.testing.assert_close(mirrored, diffeo.sample(volume, field).flip(2), atol=1e-4, rtol=1e-4)


def test_a_field_on_a_finer_grid_is_as_long_in_mm():
    coarse = torch.full((1, 3, 6, 7, 5), 1.0)
    fine = diffeo.resize(coarse, (12, 14, 10))
    torch.testing.assert_close(fine, torch.full_like(fine, 2.0))


def test_smoothing_keeps_constants_and_means():
    assert diffeo.gaussian(torch.ones(1, 1, *SHAPE), 1.5).sub(1).abs().max() < 1e-5


def test_registration_moves_a_ball_onto_another():
    fixed, moving = ball((12, 14, 10), 6.0), ball((13.5, 13, 10), 5.0)
    field = diffeo.register(fixed, moving, (Level(2, 2, 40), Level(1, 2, 20)))
    warped = diffeo.sample(moving, diffeo.resize(field, SHAPE))
    before, after = (moving - fixed).square().mean(), (warped - fixed).square().mean()
    assert after < 0.1 * before


def test_what_has_no_weight_moves_nothing():
    fixed, moving = ball((12, 14, 10), 6.0), ball((14, 14, 10), 6.0)
    field = diffeo.register(fixed, moving, (Level(2, 2, 10),), weights=torch.zeros_like(moving))
    assert field.abs().max() == 0


@pytest.mark.parametrize('seed', range(2))
def test_registration_does_not_fold(seed):
    torch.manual_seed(seed)
    fixed, moving = (diffeo.gaussian(torch.rand(1, 1, *SHAPE), 2.0) * 5 for _ in range(2))
    field = diffeo.register(fixed, moving, (Level(2, 2, 30), Level(1, 1, 30)))
    gradient = diffeo.gradient(field)[0] + torch.eye(3).view(3, 3, 1, 1, 1)
    inner = gradient[:, :, 2:-2, 2:-2, 2:-2].permute(2, 3, 4, 0, 1)
    assert torch.linalg.det(inner).min() > 0


def test_expansion_is_the_change_of_volume_and_negative_where_a_map_folds():
    x = diffeo.points((12, 10, 8))
    grown = 0.1 * x + torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1, 1)
    inner = (slice(None), *(slice(1, -1),) * 3)
    torch.testing.assert_close(diffeo.expansion(grown)[inner], torch.full((1, 10, 8, 6), 1.1**3))
    turned = torch.stack([-2 * x[:, 0], 0 * x[:, 1], 0 * x[:, 2]], 1)
    assert (diffeo.expansion(turned)[inner] == -1).all()
