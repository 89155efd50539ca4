"""The coarse volumes of appearance, drawn together: a random mixture of heads.

What tissue there is at one place of a head, and how bright, goes with what there is elsewhere: a tongue is
one piece, a jaw is the same on both sides. A few hundred heads are too few to learn that site by site, and
codes that were drawn with too little regard for each other make a head of pieces. Differences of heads to the
mean head are close to jointly Gaussian once their shape was taken out. So the coarse volumes are those of a
random mixture of all training heads, nearest code by nearest code; none of them has more than a small part in
it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpmae_bids.models.vqvae import SITES

RARE = 0.03
"""A site whose variance is a smaller share of the largest one rests at the mean head: it is air or brain."""

LARGEST_GAIN = 2.0
"""What is left out of the components is made up for by more of them, up to this factor."""


class Mixture(nn.Module):
    """Principal components of the latent volumes of aligned heads, and draws from their distribution.

    Parameters
    ----------
    latent : int
        Channels of the latent volume of the head's VQ-VAE.
    volumes : int
        Integer volumes that it stands for, from the coarsest on.
    sites : int
        Sites of the latent volume that differ between heads.
    channels : int
        Principal components of the channels, the same at all sites.
    components : int
        Of the heads.

    References
    ----------
    Blanz and Vetter, A Morphable Model for the Synthesis of 3D Faces, 1999, section 3: textures as mixtures.
    """

    live: Tensor
    basis: Tensor
    mean: Tensor
    components: Tensor

    def __init__(self, latent: int, volumes: int, sites: int, channels: int, components: int):
        super().__init__()
        self.volumes = volumes
        self.register_buffer('live', torch.zeros(sites, dtype=torch.int64))
        self.register_buffer('basis', torch.zeros(channels, latent))
        self.register_buffer('mean', torch.zeros(sites, channels))
        self.register_buffer('components', torch.zeros(components, sites, channels))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Latent volumes of new heads.

        Parameters
        ----------
        count : int
        generator : torch.Generator
            On the CPU, so that devices agree.

        Returns
        -------
        latent : Tensor of float32, shape (count, latent, 32, 32, 32)
            What differs from the mean head, as `VQVAE.encode_latent` gives it; not quantised.
        """
        scores = torch.randn(count, len(self.components), generator=generator).to(self.components)
        differing = self.mean + torch.einsum('bk,ksc->bsc', scores, self.components)
        latent = differing.new_zeros(count, self.basis.shape[1], SITES**3)
        latent[:, :, self.live] = (differing @ self.basis).transpose(1, 2)
        return latent.unflatten(2, (SITES,) * 3)

    @torch.no_grad()
    def fit(self, latents: Tensor) -> None:
        """Find sites and components; replaces those that there were, of any number.

        Parameters
        ----------
        latents : Tensor, shape (N, latent, 32, 32, 32)
            Of the coarse volumes of heads and of their mirror images.
        """
        flat = latents.flatten(2)
        mean = flat.mean(0, dtype=torch.float32)
        # head by head: thousands of them in single precision would not fit into memory
        variance = torch.stack([(head - mean).square().sum(0) for head in flat]).mean(0)
        self.live = (variance > RARE * variance.max()).nonzero()[:, 0]
        rows = torch.stack([(head - mean)[:, self.live].T for head in flat])  # (N, sites, latent)
        covariance = torch.einsum('nsc,nsd->cd', rows, rows)
        channels, count = len(self.basis), min(len(self.components), len(rows) - 1)
        self.basis = torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[:channels].contiguous()
        self.mean = mean[:, self.live].T @ self.basis.T
        seen = rows @ self.basis.T
        gram = torch.einsum('nsc,msc->nm', seen, seen)
        leading = torch.linalg.eigh(gram).eigenvectors.T.flip(0)[:count]
        components = torch.einsum('kn,nsc->ksc', leading, seen) / len(rows) ** 0.5
        kept = components.square().sum((0, 2))
        gain = (variance[self.live] / kept.clamp_min(1e-9)).sqrt().clamp_max(LARGEST_GAIN)
        self.components = torch.zeros(len(self.components), *components.shape[1:])
        self.components[:count] = components * gain[:, None]
