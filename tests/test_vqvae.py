"""The VQ-VAE of the brain and what it is made of."""

import pytest
import torch

from cpmae_bids.models.quantizer import Codebook
from cpmae_bids.models.shuffle import pixel_shuffle, pixel_unshuffle
from cpmae_bids.models.vqvae import VQVAE, VQVAEConfig

SMALL = VQVAEConfig(latent=8, width=8, decoder_blocks=1, fine=8, grids=(8, 16), dims=(8, 8), codebook=16)


@pytest.fixture(scope='module')
def vqvae():
    torch.manual_seed(0)
    return VQVAE(SMALL).eval()


def test_codebook_finds_the_nearest_entry():
    book = Codebook(4, 2)
    book.entries.copy_(torch.tensor([[0.0, 0], [1, 0], [0, 1], [5, 5]]))
    assert book.indices(torch.tensor([[0.9, 0.1], [4.0, 4.0], [0.1, 0.0]])).tolist() == [1, 3, 0]


def test_k_means_is_no_worse_than_random_entries():
    data = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    book = Codebook(32, 4)

    def error():
        return (data - book.lookup(book.indices(data))).square().mean()

    book.entries.copy_(data[:32])
    start = error()
    book.fit(data, generator=torch.Generator().manual_seed(0))
    assert error() < 0.9 * start


def test_pixel_shuffle_undoes_itself():
    x = torch.arange(2 * 3 * 8**3).float().view(2, 3, 8, 8, 8)
    assert torch.equal(pixel_shuffle(pixel_unshuffle(x, 4), 4), x)
    # voxel (1, 0, 1) of a 2^3 block is channel 5: x before y before z
    assert pixel_unshuffle(x, 2)[0, 5, 0, 0, 0] == x[0, 0, 1, 0, 1]


def test_codes_and_volume_have_the_shapes_of_the_grid(vqvae):
    codes = vqvae.encode(torch.rand(1, 1, 128, 128, 128))
    assert [tuple(c.shape) for c in codes] == [(1, 8, 8, 8), (1, 16, 16, 16)]
    assert tuple(vqvae.decode(codes).shape) == (1, 1, 128, 128, 128)
