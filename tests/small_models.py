"""Models fitted to a handful of phantoms: all that the real ones do, in seconds."""

from functools import cache

import numpy as np
import phantom
import torch

from cpmae_bids.deid.images.intensity import to_levels
from cpmae_bids.deid.space import geometry
from cpmae_bids.models import frame
from cpmae_bids.models.head import HeadVQVAE
from cpmae_bids.models.mae import MAE
from cpmae_bids.models.vqvae import VQVAE, VQVAEConfig
from cpmae_bids.training.data import Head
from cpmae_bids.training.frame import common_quantiles, head_channels
from cpmae_bids.training.initialize import initialize
from cpmae_bids.training.train_brain import brain_of
from cpmae_bids.training.train_head import fit_head
from cpmae_bids.training.train_mae import Corpus, MAETraining, build

PEOPLE = 6
BRAIN = VQVAEConfig(latent=8, width=8, fine=8, grids=(8, 16), dims=(8, 8), codebook=16)


@cache
def heads() -> tuple[Head, ...]:
    """Phantoms as a prepared file holds them; they lack what moves a head in its scanner."""
    found = []
    for person in range(PEOPLE):
        affine = geometry.grid_affine(128)
        affine[2, 3] -= frame.BELOW * frame.VOXEL_MM
        values, brain = phantom.head((128, 128, 144), affine, person, noise=False)
        split = 'validation' if person == PEOPLE - 1 else 'train'
        image = to_levels(values / phantom.SCALE)
        found.append(Head(f'person{person}', split, image, brain, np.ones_like(brain)))
    return tuple(found)


@cache
def fitted_head() -> tuple[HeadVQVAE, torch.Tensor]:
    """A head's VQ-VAE and the shapes of its heads, registered by no more than random smooth fields."""
    people = list(heads())
    generator = torch.Generator().manual_seed(0)
    fields = []
    for _ in people:
        coarse = torch.randn(1, 3, 4, 5, 5, generator=generator) * 0.5
        fields.append(torch.nn.functional.interpolate(coarse, size=frame.FIELD, mode='trilinear'))
    quantiles = common_quantiles(people)
    mean = sum(head_channels(head, quantiles)[0] for head in people[:2]) / 2
    mean = (mean + mean.flip(2)) / 2
    return fit_head(people, fields, mean, quantiles, list(range(PEOPLE)))


@cache
def brain() -> VQVAE:
    """A brain's VQ-VAE before its first step."""
    torch.manual_seed(0)
    model = VQVAE(BRAIN)
    initialize(model, torch.stack([brain_of(head) for head in heads()[:3]]))
    return model.eval()


@cache
def mae() -> tuple[MAE, Corpus]:
    """A masked autoencoder before its first step."""
    head, beyond = fitted_head()
    torch.manual_seed(0)
    settings = MAETraining(width=64, depth=1)
    model, corpus = build(head, brain(), list(heads()), beyond, list(range(PEOPLE)), settings)
    return model.eval(), corpus
