"""Edges that are drawn at 1 mm are smooth along themselves, sharp across, and leave the air alone."""

import numpy as np
import pytest
import torch

from cpmae_bids.models import edges
from cpmae_bids.models.superresolution import upsample_cubic


def layer(voxel: float, count: int, slope: float = 0.35):
    """A bright layer of 2 mm in grey tissue, oblique to the voxels; and the distances from it (mm)."""
    x, _, z = np.indices((count,) * 3, np.float32) * voxel + voxel / 2
    away = (z - 24 - slope * (x - 24)) / np.hypot(1, slope)
    return 0.3 + 0.7 * np.exp(-(away**2)), away


def tensor(volume):
    return torch.from_numpy(volume.astype(np.float32))[None, None]


def unlike(values, away):
    """Standard deviation of values that are equally far from a layer."""
    return (values - np.polyval(np.polyfit(away, values, 4), away)).std()


@pytest.fixture
def beaded():
    """The layer at 2 mm and interpolated to 1 mm, which makes beads of it."""
    values, _ = layer(2.0, 24)
    return upsample_cubic(tensor(values)), tensor(values)


def test_a_thin_layer_has_no_beads_and_is_sharper(beaded):
    fine, coarse = beaded
    _, away = layer(1.0, 48)
    inside = np.zeros(away.shape, bool)
    inside[8:-8, 8:-8, 8:-8] = True
    ridge, beside = (np.abs(away) < 0.5) & inside, (np.abs(np.abs(away) - 4) < 0.5) & inside
    before, after = fine[0, 0].numpy(), edges.drawn(fine, coarse)[0, 0].numpy()
    contrast = [volume[ridge].mean() - volume[beside].mean() for volume in (before, after)]
    beads = [unlike(volume[ridge], away[ridge]) for volume in (before, after)]
    assert beads[1] / contrast[1] < 0.7 * beads[0] / contrast[0]
    assert contrast[1] > 1.1 * contrast[0]


def test_air_stays_air_and_even_tissue_even():
    fine, coarse = torch.full((1, 1, 40, 40, 40), 0.5), torch.full((1, 1, 20, 20, 20), 0.5)
    assert torch.allclose(edges.drawn(fine, coarse), fine, atol=1e-5)
    fine[..., :20] = 0
    coarse[..., :10] = 0
    assert not edges.drawn(fine, coarse)[..., :20].any()


def test_blocks_do_not_show(beaded, monkeypatch):
    whole = edges.drawn(*beaded)
    monkeypatch.setattr(edges, 'BLOCK_VOXELS', 20**3)
    assert torch.allclose(edges.drawn(*beaded), whole, atol=1e-5)


@pytest.mark.parametrize('direction', [(1, 0, 0), (0.6, 0.8, 0), (1 / 3, 2 / 3, 2 / 3)])
def test_normals_are_those_of_a_plane(direction):
    across = np.tensordot(direction, np.indices((24, 24, 24), np.float32) - 11.5, 1)
    found = edges.normals(tensor(1 / (1 + np.exp(-across))))[0, :, 12, 12, 12]
    expected = [direction[i] * direction[j] for i, j in edges.PAIRS]
    assert found.tolist() == pytest.approx(expected, abs=0.02)
