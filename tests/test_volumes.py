"""Volumes between steps."""

import numpy as np
import pytest

from cpmae_bids.deid.images import volumes
from cpmae_bids.exceptions import InputError


def test_what_is_written_is_read(tmp_path):
    volume, mask = np.full((4, 4, 4), 1 / 3, np.float32), np.eye(4, dtype=bool)
    volumes.write(tmp_path / 'a.npz', head=volume, outside=mask, scale=1 / 3)
    assert np.array_equal(volumes.read(tmp_path / 'a.npz', 'head'), volume.astype(np.float16))
    assert np.array_equal(volumes.read(tmp_path / 'a.npz', 'outside'), mask)
    assert float(volumes.read(tmp_path / 'a.npz', 'scale')) == 1 / 3


@pytest.mark.parametrize('content', [None, b'', b'PK\x03\x04', b'nonsense'])
def test_what_is_damaged_or_not_there_is_named(tmp_path, content):
    path = tmp_path / 'a.npz'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r'a\.npz: cannot be read'):
        volumes.read(path, 'head')


def test_another_array_is_no_answer(tmp_path):
    volumes.write(tmp_path / 'a.npz', head=np.zeros(2))
    with pytest.raises(InputError, match=r'a\.npz: cannot be read'):
        volumes.read(tmp_path / 'a.npz', 'brain')
