"""Fit the head's VQ-VAE: frame, shape and exemplars, from heads that were registered groupwise."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from cpmae_bids.deid.images.intensity import STORED_LEVELS
from cpmae_bids.exceptions import UsageError
from cpmae_bids.models import diffeomorphism as diffeo
from cpmae_bids.models import frame as frames
from cpmae_bids.models.exemplars import SITE, SITES, STEPS, WINDOW, exemplar_levels, pack
from cpmae_bids.models.head import HeadVQVAE, HeadVQVAEConfig
from cpmae_bids.models.shape import NODES
from cpmae_bids.training.data import Head
from cpmae_bids.training.frame import common_quantiles, like_others, register_all

FEATURES = 12
# File in the folder of the training: the shapes of the heads, for the masked autoencoder
SHAPES = 'shapes.npz'
SHADING_MM = 20.0  # scale at which exemplars are made as bright as the mean head, so that they fit each other
SEEN_SHARE = 0.95  # a site of which a scan saw less says nothing there


def beyond_brain(model: HeadVQVAE, heads: list[Head], fields: list[Tensor]) -> Tensor:
    """Fields of heads beyond the fit to their brains, from frame to frame; (N, 3, *FIELD)."""
    beyond = []
    for head, field in zip(tqdm(heads, desc='brains', unit='head'), fields, strict=True):
        fit = model.frame.fit_brain(head.brain)
        beyond.append(diffeo.compose(diffeo.invert(field), diffeo.invert(fit)))
    return torch.cat(beyond)


def exemplar(
    head: Head, field: Tensor, quantiles: np.ndarray, mean_root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bring a head into the frame as an exemplar, with the mask of what the scan shows; both of shape SHAPE.

    `field`, (1, 3, *FIELD), leads from a point of the frame to a point of the head, `quantiles` are those of
    `cpmae_bids.training.frame.like_others`, and `mean_root` is the root of the intensity of the mean head.
    The exemplar is in levels (`cpmae_bids.models.exemplars.exemplar_levels`), uint8, 0 in the brain.
    """
    brain, fov = frames.in_frame(head.brain), frames.in_frame(head.fov)
    volume = like_others(head, quantiles)
    outer = frames.outer_mask(volume * fov, brain, closing_mm=4.0)
    points = (diffeo.points(frames.SHAPE) + diffeo.resize(field, frames.SHAPE))[0].numpy()
    root = ndimage.map_coordinates(np.sqrt(volume * outer), points, order=3, mode='nearest').clip(0)
    place = np.stack([outer, brain, fov]).astype(np.float32)
    outer, brain, seen = (ndimage.map_coordinates(x, points, order=1, mode='constant') for x in place)
    outer, brain, seen = outer > 0.5, brain > 0.5, seen > 0.99
    body = (outer & ~brain & seen).astype(np.float32)
    sigma = SHADING_MM / frames.VOXEL_MM
    smooth = [ndimage.gaussian_filter(x * body, sigma) for x in (mean_root, root)]
    gain = np.clip((smooth[0] + 1e-3) / (smooth[1] + 1e-3), 0.6, 1.6)
    levels = exemplar_levels(np.square(root * gain), outer & seen)
    levels[brain] = 0
    return levels, seen


def fit_head(
    heads: list[Head], fields: list[Tensor], mean: Tensor, quantiles: np.ndarray, donors: list[int]
) -> tuple[HeadVQVAE, Tensor]:
    """Fit a head's VQ-VAE to training heads; also return the shape of each of them, (N, 3, *FIELD).

    Parameters
    ----------
    fields : list of Tensor
        Of `cpmae_bids.training.frame.register_all`.
    mean : Tensor, shape (1, 3, *SHAPE)
        Mean of the channels.
    donors : list of int
        Heads that become exemplars: one scan of each person.
    """
    root = mean[0, 0].numpy()
    packed, described, seen_at = [], [], []
    skin, brain = (mean[:, k : k + 1] for k in (1, 2))
    tissue = (skin < 0.25 * frames.CLIPPED) & (brain > -0.5 * frames.CLIPPED)
    live = (F.max_pool3d(tissue.float(), SITE).flatten() > 0).nonzero()[:, 0]
    model = HeadVQVAE(HeadVQVAEConfig(len(donors), 0, len(live), FEATURES))
    model.frame.mean.copy_(F.avg_pool3d(mean, 2)[0])
    bank = model.exemplars
    bank.live.copy_(live)
    bank.mirrored.copy_(_mirrored(live))
    for k in tqdm(donors, desc='exemplars', unit='head'):
        levels, seen = exemplar(heads[k], fields[k], quantiles, root)
        packed.append(pack(levels))
        described.append(bank.windows(torch.from_numpy(levels.copy())[None, None].float() / STORED_LEVELS)[0])
        share = F.avg_pool3d(torch.from_numpy(seen)[None, None].float(), SITE).flatten()[live]
        seen_at.append(share > SEEN_SHARE)
    size = sum(len(data) for data in packed)
    model.config = HeadVQVAEConfig(len(donors), size, len(live), FEATURES)
    bank.data = torch.cat(packed)
    bank.ends.copy_(torch.tensor([len(data) for data in packed]).cumsum(0))
    bank.seen.copy_(torch.stack(seen_at))
    _describe(bank, torch.stack(described))

    beyond = beyond_brain(model, heads, fields)
    both = torch.cat([beyond, diffeo.mirror(beyond)])
    skin_mm = F.interpolate(model.frame.skin_mm[None, None], size=NODES, mode='trilinear')[0, 0]
    model.shape.fit(diffeo.resize(both, NODES), torch.exp(-(skin_mm / 10).square()) + 0.02)
    return model, beyond


def train_head(
    heads: list[Head], folder: Path, *, not_exemplars: Sequence[str] = (), processes: int = 1
) -> HeadVQVAE:
    """Register heads to each other and fit a head VQ-VAE to them; `folder` keeps the registrations.

    The heads are those of the prepared file at 2 mm; `not_exemplars` are names of heads that shape the frame
    but lend no tissue. Raises UsageError if no head is left.
    """
    donors = [k for k, head in enumerate(heads) if head.name not in not_exemplars]
    if len(donors) < 2:
        raise UsageError('fewer than two heads are left: check --not-exemplars and the dataset')
    mean, fields = register_all(heads, folder, processes=processes)
    model, beyond = fit_head(heads, fields, mean, common_quantiles(heads), donors)
    names = [head.name for head in heads]
    np.savez(folder / SHAPES, beyond=beyond.numpy().astype(np.float16), donors=donors, names=names)
    return model


def read_shapes(folder: Path, heads: list[Head]) -> tuple[Tensor, list[int]]:
    """Return the shape of each head (N, 3, *FIELD), and which are exemplars; UsageError if of other heads."""
    path = folder / SHAPES
    try:
        with np.load(path) as found:
            if list(found['names']) != [head.name for head in heads]:
                raise UsageError(
                    f'{path}: is of other heads: run `cpmae-bids-train head` with the same prepared file'
                )
            return torch.from_numpy(found['beyond'].astype(np.float32)), found['donors'].tolist()
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UsageError(f'{path}: cannot be read ({error}): run `cpmae-bids-train head`') from error


def _mirrored(live: Tensor) -> Tensor:
    """Live site that lies where each live site lies in the mirror image."""
    order = torch.full((int(np.prod(SITES)),), -1)
    order[live] = torch.arange(len(live))
    return order.view(SITES).flip(0).flatten()[live]


def _describe(bank, windows: Tensor) -> None:
    """Principal components of the windows of exemplars (N, live, WINDOW^3) and of their mirror images."""
    turned = windows.view(*windows.shape[:2], WINDOW, WINDOW, WINDOW).flip(2).flatten(2)[:, bank.mirrored]
    seen = bank.seen > 0
    known = torch.cat([seen, seen[:, bank.mirrored]]).float()[..., None]
    every = torch.cat([windows, turned])
    bank.mean.copy_((every * known).sum(0) / known.sum(0).clamp_min(1))
    rows = ((every - bank.mean) * known).flatten(0, 1)
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    basis = vectors.T.flip(0)[:FEATURES]
    flipped = basis.view(-1, WINDOW, WINDOW, WINDOW).flip(1).flatten(1)
    bank.basis.copy_(basis)
    bank.sign.copy_((basis * flipped).sum(1).sign())  # components are symmetric or antisymmetric
    features = (windows - bank.mean) @ basis.T * seen[..., None]
    bank.scale.copy_((features.square().sum() / (seen.sum() * FEATURES)).sqrt())
    bank.described.copy_((features / bank.scale * STEPS).round().clamp(-127, 127).to(torch.int8))
