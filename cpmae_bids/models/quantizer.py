"""Vector quantisation with a codebook that follows its data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Codebook(nn.Module):
    """Nearest-neighbour quantiser whose entries are exponential moving averages of what they encode.

    Entries that go unused are moved onto vectors of the current batch, so that the whole codebook stays in
    use. `indices` never changes the codebook; only `update` does.

    Parameters
    ----------
    size : int
        Number of entries.
    dim : int
        Length of an entry.
    decay : float
        Weight of the past in the moving averages.
    dead_below : float
        An entry is replaced when its moving average of uses falls below this share of an even share.

    References
    ----------
    van den Oord et al., Neural Discrete Representation Learning, 2017, appendix A.1.
    """

    def __init__(self, size: int, dim: int, *, decay: float = 0.99, dead_below: float = 0.02):
        super().__init__()
        self.decay, self.dead_below = decay, dead_below
        self.register_buffer('entries', torch.randn(size, dim))
        self.register_buffer('uses', torch.ones(size))
        self.register_buffer('sums', self.entries.clone())

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.entries.shape[0]

    def indices(self, vectors: Tensor) -> Tensor:
        """Index of the nearest entry of each vector; (M, dim) float -> (M,) int64."""
        vectors = vectors.float()
        half_norms = self.entries.square().sum(1) / 2
        return torch.cat([(half_norms - part @ self.entries.T).argmin(1) for part in vectors.split(16384)])

    def lookup(self, indices: Tensor) -> Tensor:
        """Entries of the given indices; (...) int64 -> (..., dim) float32."""
        return F.embedding(indices, self.entries)

    @torch.no_grad()
    def update(self, vectors: Tensor, indices: Tensor) -> None:
        """Move the entries towards the vectors that they encoded.

        Parameters
        ----------
        vectors : Tensor, shape (M, dim)
        indices : Tensor of int64, shape (M,)
        """
        vectors = vectors.float()
        counts = torch.bincount(indices, minlength=self.size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, indices, vectors)
        self.uses.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = (self.uses < self.dead_below * len(vectors) / self.size).nonzero()[:, 0]
        if len(dead) and len(vectors):
            chosen = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)]
            self.sums[dead] = chosen
            self.uses[dead] = 1.0
        self.entries.copy_(self.sums / self.uses.clamp_min(1e-4)[:, None])

    @torch.no_grad()
    def fit(self, vectors: Tensor, *, iterations: int = 15, generator: torch.Generator | None = None) -> None:
        """Start the entries by k-means on vectors (M, dim), at least as many as there are entries."""
        vectors = vectors.float()
        chosen = torch.randperm(len(vectors), generator=generator, device='cpu')[: self.size].to(
            vectors.device
        )
        self.entries.copy_(vectors[chosen])
        for _ in range(iterations):
            nearest = self.indices(vectors)
            counts = torch.bincount(nearest, minlength=self.size)
            sums = torch.zeros_like(self.entries).index_add_(0, nearest, vectors)
            used = counts > 0
            self.entries[used] = sums[used] / counts[used, None]
            empty = (~used).nonzero()[:, 0]
            if len(empty):
                again = torch.randint(len(vectors), (len(empty),), generator=generator, device='cpu')
                self.entries[empty] = vectors[again.to(vectors.device)]
        self.restart_averages()

    def restart_averages(self) -> None:
        """Let the moving averages start again from the entries, as after loading weights without them."""
        self.sums.copy_(self.entries)
        self.uses.fill_(1.0)
