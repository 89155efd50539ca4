"""Vector quantisation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ITERATIONS = 15  # of k-means


class Codebook(nn.Module):
    """Nearest-neighbour quantiser, entries (size, dim), which k-means finds."""

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.register_buffer('entries', torch.randn(size, dim))

    def indices(self, vectors: Tensor) -> Tensor:
        """Index of the nearest entry of each vector; (M, dim) float -> (M,) int64."""
        vectors = vectors.float()
        half_norms = self.entries.square().sum(1) / 2
        return torch.cat([(half_norms - part @ self.entries.T).argmin(1) for part in vectors.split(16384)])

    def lookup(self, indices: Tensor) -> Tensor:
        """Entries of the given indices; (...) int64 -> (..., dim) float32."""
        return F.embedding(indices, self.entries)

    @torch.no_grad()
    def fit(self, vectors: Tensor, *, generator: torch.Generator | None = None) -> None:
        """Start the entries by k-means on vectors (M, dim), at least as many as there are entries."""
        vectors = vectors.float()
        chosen = torch.randperm(len(vectors), generator=generator, device='cpu')[: len(self.entries)]
        self.entries.copy_(vectors[chosen.to(vectors.device)])
        for _ in range(ITERATIONS):
            nearest = self.indices(vectors)
            counts = torch.bincount(nearest, minlength=len(self.entries))
            sums = torch.zeros_like(self.entries).index_add_(0, nearest, vectors)
            used = counts > 0
            self.entries[used] = sums[used] / counts[used, None]
            empty = (~used).nonzero()[:, 0]
            if len(empty):
                again = torch.randint(len(vectors), (len(empty),), generator=generator, device='cpu')
                self.entries[empty] = vectors[again.to(vectors.device)]
