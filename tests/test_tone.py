"""Tone of generated heads."""

import json
from pathlib import Path

import numpy as np
import pytest

from cpmae_bids.deid import intensity, tone

ROOT = Path(__file__).parents[1]
NUMBERS = ROOT / 'benchmarks/results/tone.json'
N = 128


@pytest.fixture(scope='module')
def brain():
    """A ball of 40 mm."""
    return np.linalg.norm(np.indices((N, N, N)) - 64, axis=0) < 20


@pytest.fixture(scope='module')
def learnt():
    return json.loads((ROOT / 'cpmae_bids/data/tone.json').read_text('utf-8'))


@pytest.mark.skipif(not NUMBERS.exists(), reason='needs the source tree, not only the installed package')
def test_the_curves_are_those_that_were_measured(learnt):
    assert json.loads(NUMBERS.read_text('utf-8')) == learnt
    assert learnt['distances_mm'] == list(tone.DISTANCES_MM)


@pytest.mark.parametrize(('part', 'z'), [('base', 0), ('vault', -1)])
@pytest.mark.parametrize('tenth', [0, 3, 5, 8])
def test_tenths_of_drawn_heads_become_those_of_scanned_ones(learnt, part, z, tenth):
    half = np.zeros((N, N, N), bool)
    half[:40] = True
    place = tone.DISTANCES_MM.index(10.0)
    voxel = 40 + round(10.0 / 2) - 1
    assert tone.distance_mm(half)[voxel, 0, 0] == 10
    drawn, scanned = (learnt[part][role][place][tenth] for role in ('drawn', 'scanned'))
    corrected = tone.correct(np.full((N, N, N), drawn, np.float32), half)[voxel, 0, z]
    assert corrected == pytest.approx(scanned, abs=0.002)


@pytest.mark.parametrize('n', [N, 2 * N])
def test_order_stays_and_nothing_within_is_empty(brain, n):
    former = np.zeros((n, n, n), np.float32)
    for level in np.linspace(0, intensity.CEILING, 6, dtype=np.float32):
        corrected = tone.correct(np.full((n, n, n), level), brain)
        assert corrected.shape == former.shape
        assert corrected.dtype == np.float32
        assert (corrected >= former).all()
        former = corrected
        if level == 0:
            assert np.allclose(corrected, tone.AIR)
    assert np.allclose(corrected, intensity.CEILING)


def test_fluid_and_bone_beside_the_brain_are_darker_than_marrow_and_fat(brain):
    column = tone.correct(np.full((N, N, N), 0.4, np.float32), brain)[64, 64, 64 + 20 :]  # above the brain
    assert column[1] < 0.35
    assert column[3] > 0.4


def test_neighbours_differ_little(brain):
    corrected = tone.correct(np.full((2 * N,) * 3, 0.4, np.float32), brain)
    assert max(np.abs(np.diff(corrected, axis=axis)).max() for axis in range(3)) < 0.1


def test_without_a_brain_all_is_far_from_it():
    corrected = tone.correct(np.full((N, N, N), 0.4, np.float32), np.zeros((N, N, N), bool))
    assert len(np.unique(corrected[..., -1])) == 1
