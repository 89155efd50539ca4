"""A codec of volumes that needs no gradient step: principal components of patches, quantised by k-means.

Each site of a volume is a patch. Its components are quantised code after code, each code taking what the
codes before left over, as the levels of a VQ-VAE do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cpmae_bids.deid.intensity import HOLE

FIT_PATCHES = 150_000
FLAT_PATCHES = 1_500  # of each kind, so that air and the hole have entries of their own
FIT_ROUNDS = 12


@dataclass(frozen=True)
class PatchCodec:
    """Principal components of patches, quantised in residual stages.

    Attributes
    ----------
    site : int
        Voxels along the edge of a patch.
    mean : ndarray, shape (site**3,)
    components : ndarray, shape (k, site**3)
        Orthonormal rows.
    codebooks : tuple of ndarray, shape (entries, k) each
    """

    site: int
    mean: np.ndarray
    components: np.ndarray
    codebooks: tuple[np.ndarray, ...]

    def first(self, codes: int) -> PatchCodec:
        """The codec that stops after some of the codes of each site."""
        return replace(self, codebooks=self.codebooks[:codes])

    def bits(self, n: int) -> int:
        """Bits of the codes of a cube of n voxels per edge."""
        per_site = sum(int(np.ceil(np.log2(len(book)))) for book in self.codebooks)
        return (n // self.site) ** 3 * per_site

    def reconstruct(self, volume: np.ndarray) -> np.ndarray:
        """Encode and decode a volume; (n, n, n) to (n, n, n) float32."""
        vectors = (to_patches(volume, self.site) - self.mean) @ self.components.T
        estimate = np.zeros_like(vectors)
        for book in self.codebooks:
            estimate += book[nearest(vectors - estimate, book)]
        return from_patches(estimate @ self.components + self.mean, self.site, volume.shape[0])


def to_patches(volume: np.ndarray, site: int) -> np.ndarray:
    """Cut a cube into patches; (n, n, n) to ((n / site)**3, site**3), n a multiple of the site."""
    sites = volume.shape[0] // site
    blocks = volume.reshape(sites, site, sites, site, sites, site)
    return blocks.transpose(0, 2, 4, 1, 3, 5).reshape(sites**3, site**3)


def from_patches(patches: np.ndarray, site: int, n: int) -> np.ndarray:
    """Inverse of `to_patches`."""
    sites = n // site
    blocks = patches.reshape(sites, sites, sites, site, site, site)
    return blocks.transpose(0, 3, 1, 4, 2, 5).reshape(n, n, n)


def nearest(vectors: np.ndarray, book: np.ndarray) -> np.ndarray:
    """Index of the nearest entry of each vector; (M, k), (entries, k) to (M,)."""
    half_norms = np.square(book).sum(axis=1) / 2
    return np.concatenate(
        [
            np.argmin(half_norms - part @ book.T, axis=1)
            for part in np.array_split(vectors, max(1, len(vectors) // 8192))
        ]
    )


def k_means(vectors: np.ndarray, entries: int, rng: np.random.Generator) -> np.ndarray:
    """Lloyd's algorithm from random vectors; an entry that nobody uses is moved onto another vector.

    Parameters
    ----------
    vectors : ndarray of float32, shape (M, k)
        At least as many as `entries`.
    entries : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (entries, k)
    """
    book = vectors[rng.choice(len(vectors), entries, replace=False)].copy()
    for _ in range(FIT_ROUNDS):
        index = nearest(vectors, book)
        counts = np.bincount(index, minlength=entries)
        for column in range(book.shape[1]):
            sums = np.bincount(index, weights=vectors[:, column], minlength=entries)
            book[:, column] = sums / np.maximum(counts, 1)
        unused = np.flatnonzero(counts == 0)
        book[unused] = vectors[rng.choice(len(vectors), len(unused), replace=False)]
    return book


def fit(
    volumes: Sequence[np.ndarray], site: int, codes: int, entries: int, components: int = 32, seed: int = 0
) -> PatchCodec:
    """Fit a codec to patches that are not all of one intensity.

    Parameters
    ----------
    volumes : sequence of ndarray, shape (n, n, n)
        Training heads.
    site : int
        Voxels along the edge of a patch.
    codes : int
        Codes per site.
    entries : int
        Entries of each codebook.
    components : int
        Principal components that are kept.
    seed : int
        Of the choice of patches and of the k-means.

    Returns
    -------
    PatchCodec
    """
    rng = np.random.default_rng(seed)
    share = FIT_PATCHES // len(volumes)
    chosen = []
    for volume in volumes:
        patches = to_patches(volume, site)
        patches = patches[np.ptp(patches, axis=1) > 0]
        chosen.append(patches[rng.permutation(len(patches))[:share]])
    flat = [np.full((FLAT_PATCHES, site**3), value) for value in (0.0, HOLE)]  # air and the brain's hole
    patches = np.concatenate([*chosen, *flat]).astype(np.float32)
    mean = patches.mean(axis=0)
    covariance = np.cov(patches, rowvar=False)
    basis = np.linalg.eigh(covariance).eigenvectors[:, ::-1][:, :components].T.astype(np.float32)
    vectors = (patches - mean) @ basis.T
    books = []
    for _ in range(codes):
        books.append(k_means(vectors, entries, rng))
        vectors = vectors - books[-1][nearest(vectors, books[-1])]
    return PatchCodec(site, mean, basis, tuple(books))
