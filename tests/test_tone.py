"""Tone of generated heads."""

import json
from pathlib import Path

import numpy as np
import pytest

from cpmae_bids.deid import intensity, tone

NUMBERS = Path(__file__).parents[1] / 'benchmarks/results/tone.json'


@pytest.mark.skipif(not NUMBERS.exists(), reason='needs the source tree, not only the installed package')
def test_tenths_of_drawn_heads_become_those_of_scanned_ones():
    numbers = json.loads(NUMBERS.read_text('utf-8'))
    corrected = tone.correct(np.array(numbers['drawn'], np.float32))
    assert np.allclose(corrected, numbers['scanned'], atol=1e-5)


def test_order_stays_and_nothing_within_is_empty():
    values = np.linspace(0, intensity.CEILING, 500, dtype=np.float32).reshape(5, 100)
    corrected = tone.correct(values)
    assert corrected.shape == values.shape
    assert corrected.dtype == np.float32
    assert (np.diff(corrected.ravel()) > 0).all()
    assert corrected.min() == np.float32(tone.AIR)
    assert corrected.max() == np.float32(intensity.CEILING)
