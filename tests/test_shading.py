"""Shading of generated heads."""

import json
from pathlib import Path

import numpy as np
import pytest

from cpmae_bids.deid import intensity, shading

NUMBERS = Path(__file__).parents[1] / 'benchmarks/results/shading.json'
N = 128


def brain(terms):
    """A ball of one tissue that is shaded so."""
    axes = np.indices((N,) * 3) + 0.5 - N / 2
    ball = np.linalg.norm(axes, axis=0) < 32
    field = np.exp(shading.terms(N) @ terms).reshape((N,) * 3)
    return np.where(ball, 0.8 * field, 0).astype(np.float32)


@pytest.mark.skipif(not NUMBERS.exists(), reason='needs the source tree, not only the installed package')
def test_what_was_learnt_is_what_the_benchmark_found():
    learnt = json.loads((Path(shading.__file__).parents[1] / 'data/shading.json').read_text('utf-8'))
    assert learnt == json.loads(NUMBERS.read_text('utf-8'))


def test_the_shading_of_a_brain_is_found():
    wanted = np.array([0, 0.1, -0.2, 0.3, -0.1, 0.2, -0.4])
    found = shading.of_brain(brain(wanted))
    assert found[0] == pytest.approx(np.log(0.8), abs=0.01)
    assert np.allclose(found[1:], wanted[1:], atol=0.01)


def test_a_head_follows_its_brain_and_the_seed():
    left, right = (brain(np.array([0, x, 0, 0, 0, 0, 0])) for x in (-0.1, 0.1))
    drawn = [[shading.draw(one, np.random.default_rng(seed)) for seed in range(8)] for one in (left, right)]
    x = np.array(drawn)[..., 1]
    assert (x[1] - x[0] > 0.03).all()
    assert x.std(axis=1).min() > 0.005
    again = shading.draw(left, np.random.default_rng(3))
    assert np.array_equal(again, drawn[0][3])


def test_an_unusual_brain_does_not_black_out_its_head():
    unusual = brain(np.array([0, 3.0, 0, 3, 0, -3, 0]))
    drawn = shading.draw(unusual, np.random.default_rng(0))
    assert np.abs(drawn).max() < 0.6
    head = np.full((64,) * 3, 0.6, np.float32)
    shaded = shading.apply(head, 10 * drawn)
    assert shaded.min() >= 0.6 * np.exp(-shading.LARGEST) - 1e-4
    assert shaded.max() <= 0.6 * np.exp(shading.LARGEST) + 1e-4


def test_too_little_brain_is_shaded_as_the_mean():
    usual = json.loads((Path(shading.__file__).parents[1] / 'data/shading.json').read_text('utf-8'))
    little = np.zeros((N,) * 3, np.float32)
    little[60:70, 60:70, 60:70] = 0.8
    assert np.array_equal(shading.of_brain(little), usual['brain_mean'])
    assert np.array_equal(shading.of_brain(np.zeros_like(little)), usual['brain_mean'])


def test_shading_is_that_of_its_terms_and_air_stays_air():
    terms = np.array([0.02, 0.1, -0.1, 0.05, -0.05, 0.04, 0.03])
    head = np.full((32,) * 3, 0.6, np.float32)
    head[:4] = 0
    head[-1, -1, -1] = intensity.CEILING
    shaded = shading.apply(head, terms)
    assert shaded.dtype == np.float32
    expected = head.ravel() * np.exp(shading.terms(32) @ terms)
    assert np.allclose(shaded.ravel(), expected.clip(0, intensity.CEILING), atol=1e-5)
    assert not shaded[:4].any()
