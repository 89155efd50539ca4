"""Numbers of drawn faces beside real ones."""

import pytest
import torch

from benchmarks import shape_draws
from cpmae_bids.models import exemplars
from cpmae_bids.models.frame import VOXEL_MM
from cpmae_bids.models.plausibility import POINTS, Plausibility

CODES = 6


@pytest.fixture
def plausibility():
    generator = torch.Generator().manual_seed(0)
    made = Plausibility(CODES, 20)
    made.rest.copy_(50 * torch.rand(POINTS, 3, generator=generator))
    made.moves.copy_(torch.randn(POINTS, 3, CODES, generator=generator))
    made.basis[:CODES] = torch.linalg.qr(made.moves.flatten(0, 1)).Q.T
    made.faces.copy_(made.coordinates(torch.randn(20, CODES, generator=generator)))
    return made


def scores(count: int, spread: float, seed: int):
    return spread * torch.randn(count, CODES, generator=torch.Generator().manual_seed(seed))


def test_more_of_the_same_people_are_as_varied_and_as_plausible(plausibility):
    found = shape_draws.compare(plausibility, scores(300, 1.0, 1), scores(300, 1.0, 2))
    assert found['variance'] == pytest.approx(1, abs=0.2)
    assert found['plausible'] > 0.85
    assert found['nobody'] == pytest.approx(1, abs=0.1)


def test_exaggerated_faces_vary_more_and_are_not_plausible(plausibility):
    found = shape_draws.compare(plausibility, scores(300, 2.0, 1), scores(300, 1.0, 2))
    assert found['variance'] == pytest.approx(4, rel=0.25)
    assert found['plausible'] < 0.6


def test_copies_of_training_faces_are_somebody(plausibility):
    real = scores(100, 1.0, 2)
    plausibility.faces.copy_(plausibility.coordinates(scores(20, 1.0, 3)))
    copies = scores(20, 1.0, 3).repeat(5, 1)
    assert shape_draws.compare(plausibility, copies, real)['nobody'] == 0


def test_donors_are_counted_over_live_sites_and_pieces_are_connected():
    codes = torch.zeros(exemplars.SITES, dtype=torch.int64)
    codes[2:5, 3, 3] = 7
    codes[8, 3, 3] = 7  # no part of that piece
    codes[9:12, 3, 3] = torch.tensor([1, 2, 3])
    row = torch.zeros(exemplars.SITES, dtype=torch.bool)
    row[2:5, 3, 3] = row[8:12, 3, 3] = True
    live = row.flatten().nonzero().flatten()
    share, longest = shape_draws.donors(codes, live)
    assert share == pytest.approx(4 / 7)
    assert longest == 3 * exemplars.SITE * VOXEL_MM
