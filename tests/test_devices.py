"""Models compute on the device that they were loaded to.

The meta device stands for a GPU: tensors have shapes and places there, no values, and do not mix with others.
"""

import numpy as np
import pytest
import torch

from cpmae_bids.models import diffeomorphism as diffeo
from cpmae_bids.models import drawing, edges, exemplars, superresolution
from cpmae_bids.models.head import HeadVQVAE, HeadVQVAEConfig
from cpmae_bids.models.superresolution import SuperResolution, SuperResolutionConfig
from cpmae_bids.models.vqvae import VQVAE, VQVAEConfig


@pytest.fixture(autouse=True)
def _no_values(monkeypatch):
    """Replace what looks at values, of which there are none."""
    monkeypatch.setattr(diffeo, 'invert', torch.zeros_like)  # ends by the largest change
    monkeypatch.setattr(exemplars.Exemplars, 'scatter', lambda self, codes: codes.new_zeros(exemplars.SITES))
    for module in (superresolution, edges):
        monkeypatch.setattr(
            module, 'blocks_of_tissue', lambda tissue, *_: [tuple(slice(0, n) for n in tissue.shape)]
        )


def kinds(codes: list[torch.Tensor]) -> set[tuple[str, torch.dtype]]:
    return {(level.device.type, level.dtype) for level in codes}


def test_devices_do_not_mix():
    with pytest.raises(RuntimeError, match='device'):
        torch.zeros(3, device='meta') + torch.zeros(3)


def test_a_brain_is_encoded_there():
    codes = VQVAE(VQVAEConfig()).to('meta').encode(torch.zeros(1, 1, 128, 128, 128, device='meta'))
    assert kinds(codes) == {('meta', torch.int64)}


def test_a_head_is_encoded_there():
    model = HeadVQVAE(HeadVQVAEConfig(count=3, size=9, sites=50, features=4, shape=2)).to('meta')
    volume, brain = np.ones((128,) * 3, np.float32), np.zeros((128,) * 3, bool)
    brain[40:80, 40:80, 40:80] = True
    assert kinds(model.encode(volume, brain, ~brain)) == {('meta', torch.int64)}


def test_detail_is_drawn_there_and_comes_back(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda self: seen.append(self.device.type) or self)
    network = SuperResolution(SuperResolutionConfig()).to('meta')
    drawing.detailed(network, torch.zeros(1, 1, 24, 24, 24), seed=1, coarse=False)
    assert seen == ['meta']
