"""The head's VQ-VAE: the frame, exemplars, shapes."""

import numpy as np
import phantom
import pytest
import small_models
import torch

from cpmae_bids.deid.images import intensity
from cpmae_bids.deid.space import geometry
from cpmae_bids.models import diffeomorphism as diffeo
from cpmae_bids.models import exemplars, frame, globes
from cpmae_bids.models.drawing import FURTHER, lay_around, lengthened
from cpmae_bids.models.head import NAPE, cover, fill
from cpmae_bids.models.refinement import denoised, sharpened
from cpmae_bids.models.shape import LEVELS, STEP, Shape

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def head():
    return small_models.fitted_head()[0]


def whole(person: int) -> tuple[np.ndarray, np.ndarray]:
    values, brain = phantom.head((128,) * 3, geometry.grid_affine(128), person, noise=False)
    return values / phantom.SCALE, brain


def test_a_packed_volume_is_the_same_again():
    volume = np.random.default_rng(0).integers(0, 64, frame.SHAPE, dtype=np.uint8)
    assert (exemplars.unpack(exemplars.pack(volume)) == volume).all()


def test_only_air_outside_the_skin_is_stored_as_zero():
    stored = exemplars.exemplar_levels(np.array([0.0, 0.0, 1.0, 9.0]), np.array([False, True, True, True]))
    assert stored[0] == 0
    assert stored[1] == 1
    assert 1 < stored[2] < stored[3] == intensity.STORED_LEVELS


def test_cavities_lie_within_the_skin():
    volume, brain = whole(0)
    outer = frame.outer_mask(frame.in_frame(volume), frame.in_frame(brain), closing_mm=4.0)
    assert outer[frame.in_frame(brain)].all()
    assert not outer[0].any()
    assert 0.2 < outer.mean() < 0.6


@pytest.mark.parametrize('mirrored', [False, True])
def test_one_exemplar_everywhere_is_that_head(head, mirrored):
    bank = head.exemplars
    code = 2 + mirrored * bank.count
    codes = torch.full(exemplars.SITES, code)
    nothing = torch.zeros(1, 1, *frame.SHAPE)
    root, outer = bank.blend(codes, nothing, nothing)
    stored = bank.levels(2)[::-1] if mirrored else bank.levels(2)
    drawn = root[0, 0].numpy() * intensity.STORED_LEVELS
    # but where it saw nothing, at the edges of the grid, and the background shows
    assert np.isclose(drawn, stored, rtol=0.03, atol=0.5).mean() > 0.9
    assert ((outer[0, 0].numpy() > 0.5) == (stored > 0)).mean() > 0.9


def test_descriptors_of_mirror_images_are_those_of_mirrored_volumes(head):
    bank = head.exemplars
    root = torch.from_numpy(bank.levels(1)[::-1].copy())[None, None].float() / intensity.STORED_LEVELS
    expected = bank.descriptors()[bank.count + 1]
    assert (bank.describe(root)[0] - expected).abs().median() < 0.05


def test_a_head_is_described_by_itself(head):
    described = head.exemplars.descriptors()[3]
    assert (head.nearest(described) == 3).float().mean() > 0.6


def test_the_brain_of_the_frame_is_laid_on_that_of_a_scan(head):
    _, brain = whole(0)
    moved = np.roll(brain, (3, -2), (1, 2))
    field = diffeo.resize(head.frame.fit_brain(moved), frame.SHAPE)
    distance = head.frame.brain_mm[None, None]
    distance = torch.nn.functional.interpolate(distance, size=frame.SHAPE, mode='trilinear')

    def dice(found: torch.Tensor) -> float:
        inside, wanted = found[0, 0].numpy() < 0, frame.in_frame(moved)
        return 2 * (inside & wanted).sum() / (inside.sum() + wanted.sum())

    assert dice(distance) < 0.95 < 0.985 < dice(diffeo.sample(distance, field))


def test_codes_of_a_head_are_integer_volumes_and_lead_back_to_a_head(head):
    volume, brain = whole(5)
    codes = head.encode(volume, brain, np.ones_like(brain))
    assert [tuple(c.shape) for c in codes] == [(1, 4, 4, 4), (1, *exemplars.SITES)]
    assert codes[0].min() >= 0
    assert codes[0].max() < LEVELS
    assert codes[1].max() < 2 * head.exemplars.count
    drawn = lay_around(head.decode(codes), head.field(codes, brain))[0, 0, :, :, frame.BELOW :].numpy()
    outside = ~brain & (volume > 0.3)
    assert (drawn[outside] > 0.1).mean() > 0.9
    assert drawn.max() <= intensity.CEILING


def test_the_shape_ends_at_the_brain(head):
    _, brain = whole(0)
    rest = torch.full((1, 4, 4, 4), LEVELS // 2)
    drawn = rest.clone()
    drawn[:] = torch.randint(LEVELS // 2 - 15, LEVELS // 2 + 15, rest.shape)
    codes = torch.zeros(1, *exemplars.SITES, dtype=torch.int64)
    difference = head.field([drawn, codes], brain) - head.field([rest, codes], brain)
    small = torch.nn.functional.avg_pool3d(torch.from_numpy(frame.in_frame(brain))[None, None].float(), 2)
    deep = small[0, 0] == 1
    assert difference[0][:, deep].abs().max() < 0.05
    assert difference.abs().max() > 0.2


def test_globes_stay_round_whatever_stretches_the_head():
    grid = diffeo.points(frame.FIELD)
    middle = torch.tensor(frame.FIELD).view(1, 3, 1, 1, 1) / 2
    stretched = (grid - middle) * torch.tensor([-0.15, 0.1, 0.3]).view(1, 3, 1, 1, 1)
    field = globes.rounded(stretched, torch.ones(1, 1, *frame.FIELD))
    assert diffeo.expansion(field)[0].min() > 0.3
    everywhere = torch.full((1, *frame.FIELD), True)
    for eye in (globes.MIDDLES_MM - globes.ORIGIN_MM) / globes.NODE_MM:
        at = torch.from_numpy(eye).float().view(1, 3, 1, 1, 1)
        away = (grid + stretched - at).norm(dim=1) * globes.NODE_MM
        moved = diffeo.gradient(field)[0].abs().amax((0, 1))
        assert moved[away[0] < globes.RADIUS_MM - globes.NODE_MM].max() < 0.02
        everywhere &= away > 2 * (globes.RADIUS_MM + globes.SOFT_MM)
    assert torch.equal(field[0][:, everywhere[0]], stretched[0][:, everywhere[0]])


def test_globes_leave_the_surface_of_the_brain_alone(head):
    _, brain = whole(0)
    shapes = torch.randint(LEVELS // 2 - 15, LEVELS // 2 + 15, (1, 4, 4, 4))
    field = head.field([shapes], brain)
    followed = diffeo.compose(head.beyond_brain(shapes), head.frame.fit_brain(brain))
    at_brain = diffeo.sample(head.frame.brain_mm[None, None].float(), followed)[0, 0] <= 0
    assert at_brain.any()
    assert (field - followed)[0][:, at_brain].abs().max() < 0.25


def test_a_shape_that_reaches_below_the_frame_finds_a_neck_there(head):
    codes = [torch.full((1, 4, 4, 4), LEVELS // 2), torch.zeros(1, *exemplars.SITES, dtype=torch.int64)]
    volume = head.decode(codes)
    longer = lengthened(volume)
    assert longer.shape[4] == volume.shape[4] + FURTHER
    down = torch.zeros(1, 3, *frame.FIELD)
    down[:, 2] = -FURTHER / 2
    lowest = lay_around(longer, down)[0, 0, :, :, :FURTHER]
    assert torch.allclose(lowest[frame.BOX], longer[0, 0, :, :, :FURTHER], atol=1e-4)
    # and not one slice that is repeated
    assert (lowest[:, :, 0] - lowest[:, :, FURTHER // 2]).abs().max() > 0.1


def test_the_nape_grows_no_wider_downwards(head):
    codes = [torch.full((1, 4, 4, 4), LEVELS // 2), torch.zeros(1, *exemplars.SITES, dtype=torch.int64)]
    middle = slice(frame.SHAPE[0] // 2 - 10, frame.SHAPE[0] // 2 + 10)
    nape = (head.decode(codes)[0, 0, middle] > intensity.SKIN).int().argmax(1)  # first tissue from the back
    assert (nape[:, NAPE] > 0).all()
    assert (nape[:, : NAPE // 2] >= nape[:, NAPE : NAPE + 1] - 1).all()


def test_shape_codes_are_steps_of_a_standard_deviation():
    scores = torch.linspace(-3, 3, 41)
    codes = Shape.codes(scores)
    assert (Shape.values(codes) - scores).abs().max() <= STEP / 2 + 1e-6
    assert Shape.codes(torch.tensor([-99.0, 99.0])).tolist() == [0, LEVELS - 1]


def test_shapes_are_encoded_as_they_were_decoded(head):
    codes = torch.randint(LEVELS // 2 - 8, LEVELS // 2 + 8, (1, 4, 4, 4))
    kept = int((head.shape.components.flatten(1) != 0).any(1).sum())
    again = head.shape.encode(head.shape.decode(codes)).flatten()[:kept]
    assert (again - codes.flatten()[:kept]).abs().float().mean() < 1.5


def test_a_skin_is_where_half_of_what_rules_lies_within_it():
    x = np.indices((40, 40, 40), dtype=np.float32) - 19.5
    away = np.sqrt((x**2).sum(0))
    outer = np.clip(0.5 + (14 - away) / 4, 0, 1)
    tissue, edge = cover(np.where(away < 13, 0.6, 0.05).astype(np.float32), outer)
    covered = (tissue * edge)[0, 0].numpy()
    edge = np.interp(0.3, covered[20, 20, 20:][::-1], away[20, 20, 20:][::-1])
    assert abs(edge - 14) < 0.6
    assert covered[away > 18].max() == 0
    assert abs(covered[away < 10] - 0.6).max() < 0.01


def test_noise_goes_and_an_edge_stays():
    x = np.indices((24, 24, 24))[0]
    clean = torch.from_numpy(np.where(x < 12, 0.3, 1.0).astype(np.float32))[None, None]
    noisy = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = denoised(noisy, times=2)
    assert (found - clean)[..., 4:-4, :, :].std() < 0.5 * 0.05
    once = denoised(noisy, times=1)
    assert (found - clean).std() < (once - clean).std() < (noisy - clean).std()
    step = found[0, 0].mean((1, 2))
    assert step[12] - step[11] > 0.6
    assert sharpened(found)[0, 0].mean((1, 2)).diff()[11] > step.diff()[11]


def test_the_rim_of_the_brain_is_filled_from_around_it():
    x = np.indices((32, 32, 32), dtype=np.float32) - 15.5
    away = np.sqrt((x**2).sum(0))
    root = np.where(away < 8, 0, 0.5).astype(np.float32)
    filled = fill(root, (away - 8) * frame.VOXEL_MM)
    assert abs(filled[(away > 6.5) & (away < 8)] - 0.5).max() < 0.01
    assert (filled[away >= 8] == 0.5).all()
