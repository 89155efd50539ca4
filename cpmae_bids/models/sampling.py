"""Remodelling: from brain codes alone to the codes of a head.

Test time of the paper (arXiv 2310.15778, Figure 4): starting from a random code the masked autoencoder
refines its estimate. The original head is no input of any function here.
"""

import logging
import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from cpmae_bids.exceptions import CpmaeError
from cpmae_bids.models.exemplars import SITE, SITES
from cpmae_bids.models.frame import VOXEL_MM
from cpmae_bids.models.head import HeadVQVAE
from cpmae_bids.models.mae import MAE
from cpmae_bids.models.shape import Shape
from cpmae_bids.models.vqvae import VQVAE

DONORS = 14  # training heads that a drawn head is made of
FAR_REACHING = 5  # how many of them see more than most
LARGEST_SHARE = 0.12  # share of the live sites that one donor may rule
LARGEST_PIECE_MM = 64.0  # extent of a connected piece of one donor along any axis
UNSEEN = 20.0  # what it costs to name a donor that did not see a site: the mean head is drawn there
SEAM = 0.5  # what the mismatch of two donors at their border counts beside the fit to what is expected
ATTEMPTS = 50  # draws of a shape until one is plausible


@torch.no_grad()
def remodel(
    mae: MAE, head: HeadVQVAE, brain: VQVAE, brain_codes: list[Tensor], *, seed: int, steps: int = 12
) -> list[Tensor]:
    """Codes of a new head around a brain.

    Parameters
    ----------
    brain : VQVAE
        Gives meaning to the codes of the brain.
    brain_codes : list of Tensor of int64, shape (1, g, g, g) each
    seed : int
        The same seed and brain give the same head.
    steps : int
        Rounds of refinement.

    Returns
    -------
    codes : list of Tensor of int64
        See `HeadVQVAE.encode`.
    """
    generator = torch.Generator().manual_seed(seed)
    features = mae.brain(brain.latent_of(brain_codes))[0]
    shape, rejected = draw_shape(mae, head, features, generator=generator, steps=steps)
    if rejected:
        logging.getLogger(__name__).info('%d shapes rejected: %s', len(rejected), ', '.join(rejected))
    appearance = draw_appearance(
        mae, head, Shape.values(shape).float(), features, generator=generator, steps=steps
    )
    return [shape.view(1, *(head.config.shape,) * 3), head.exemplars.scatter(appearance)[None]]


def draw_shape(
    mae: MAE, head: HeadVQVAE, brain: Tensor, *, generator: torch.Generator, steps: int
) -> tuple[Tensor, list[str]]:
    """Codes (M,) of a plausible shape, and why earlier draws were rejected.

    All codes are unknown at first; in every round a few more are drawn given the others and the brain. Raises
    CpmaeError if no draw is accepted.
    """
    count, rejected = len(mae.shape.covariance), []
    for _ in range(ATTEMPTS):
        scores, known = torch.zeros(count), torch.zeros(count, dtype=torch.bool)
        for part in torch.randperm(count, generator=generator).tensor_split(min(steps, count)):
            mean, deviation = mae.shape(scores, known, brain)
            noise = torch.randn(count, generator=generator)
            drawn = Shape.values(Shape.codes(mean + deviation * noise))
            scores[part], known[part] = drawn[part], True
        reason, codes = mae.plausibility.reason(scores), Shape.codes(scores)
        if reason is None and head.folds(codes.view(1, *(head.config.shape,) * 3)):
            reason = 'folded'
        if reason is None:
            return codes, rejected
        rejected.append(reason)
    raise CpmaeError(f'no plausible face in {ATTEMPTS} draws (last: {rejected[-1]}): use another --seed')


def draw_appearance(
    mae: MAE,
    head: HeadVQVAE,
    shape: Tensor,
    brain: Tensor,
    *,
    generator: torch.Generator,
    steps: int,
    trace: list[float] | None = None,
) -> Tensor:
    """Draw exemplars of all live sites, starting from random ones, by rounds of masking and renewed choice.

    In every round some sites are masked, their descriptors are predicted from the others, and all sites
    choose again: a donor is the likelier the nearer it is to the prediction, and the better it fits its
    neighbours. Mask ratio and randomness fall with the rounds.

    Parameters
    ----------
    shape, brain : Tensor
        Scores of shape (M,) and features of the brain.
    generator : torch.Generator
        On the CPU.
    steps : int
        Rounds.
    trace : list of float, optional
        Gets the seam energy at the start and after every round.

    Returns
    -------
    codes : Tensor of int64, shape (live,)
    """
    bank = head.exemplars
    donors = _choose_donors(bank.known(), generator)
    table, seen = bank.descriptors()[donors], bank.known()[donors]
    sites = table.shape[1]
    penalty = UNSEEN * (~seen).float()
    mismatch = (table[:, None] - table[None]).square().mean(3)  # (donor, donor, site)
    around = _neighbours(bank.live)
    labels = torch.randint(len(donors), (sites,), generator=generator)
    if trace is not None:
        trace.append(seam_energy(mismatch, labels, around))
    usage = torch.zeros(len(donors))
    for step in range(steps):
        doubt = math.cos(math.pi / 2 * (step + 1) / (steps + 1))
        known = torch.rand(sites, generator=generator) >= doubt
        current = table[labels, torch.arange(sites)]
        expected = mae.appearance(current[None], known[None], shape[None], brain[None])[0]
        misfit = ((table - expected).square() / mae.appearance.variance.float()).mean(2) / 2
        heat = 0.6 * doubt + 0.05
        # half of the sites at a time: neighbours that choose at once would chase each other
        for half in (0, 1):
            energy = misfit + SEAM * _border(mismatch, labels, around) + usage[:, None] + penalty
            gumbel = -torch.log(
                -torch.log(torch.rand(energy.shape, generator=generator).clamp(1e-9, 1 - 1e-7))
            )
            choice = (-energy / heat + gumbel).argmax(0)
            turn = _parity(bank.live) == half
            labels = torch.where(turn, choice, labels)
        share = torch.bincount(labels, minlength=len(donors)) / sites
        usage = (usage + 4 * (share - 0.8 * LARGEST_SHARE)).clamp_min(0)
        if trace is not None:
            trace.append(seam_energy(mismatch, labels, around))
    energy = misfit + SEAM * _border(mismatch, labels, around) + usage[:, None] + penalty
    labels = _limit(labels, energy, bank.live, around)
    return donors[labels]


def _choose_donors(known: Tensor, generator: torch.Generator) -> Tensor:
    """Draw `DONORS` training heads, as they are or mirrored; some must show the lower neck (`known`)."""
    count = len(known) // 2
    own = known[:count].float()
    rare = own.mean(0) < 0.5
    reaching = own[:, rare].mean(1) if rare.any() else torch.ones(count)
    far = reaching >= reaching.quantile(0.75)
    chance = torch.rand(count, generator=generator)
    first = (chance + far).argsort(descending=True)[:FAR_REACHING]
    left = torch.ones(count, dtype=torch.bool)
    left[first] = False
    order = torch.cat(
        [first, (chance * left - (~left).float()).argsort(descending=True)[: count - len(first)]]
    )
    codes = order + count * torch.randint(2, (count,), generator=generator)
    return torch.cat([codes, (codes + count) % (2 * count)])[:DONORS]


def _neighbours(live: Tensor) -> Tensor:
    """Number of the live site at each of the six faces (live, 6); itself where there is none."""
    index = torch.full((SITES[0] + 2, SITES[1] + 2, SITES[2] + 2), -1)
    x, y, z = np.unravel_index(live.numpy(), SITES)
    own = torch.arange(len(live))
    index[x + 1, y + 1, z + 1] = own
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    sides = [index[x + 1 + a, y + 1 + b, z + 1 + c] for a, b, c in steps]
    return torch.stack([torch.where(side < 0, own, side) for side in sides], 1)


def _parity(live: Tensor) -> Tensor:
    return torch.from_numpy(sum(np.unravel_index(live.numpy(), SITES)) % 2)


def _border(mismatch: Tensor, labels: Tensor, around: Tensor) -> Tensor:
    """Mismatch of every donor at every site with those that rule the sites around it; (donor, site)."""
    sites = torch.arange(len(labels))
    total = 0
    for other in around.T:
        ruler = labels[other]
        total = total + (mismatch[:, ruler, sites] + mismatch[:, ruler, other]) / 2
    return total / around.shape[1]


def seam_energy(mismatch: Tensor, labels: Tensor, around: Tensor) -> float:
    """Mean mismatch of the rulers of neighbouring sites: 0 where one donor rules all."""
    return float(_border(mismatch, labels, around)[labels, torch.arange(len(labels))].mean())


def _limit(labels: Tensor, energy: Tensor, live: Tensor, around: Tensor) -> Tensor:
    """Give sites to the next best donor until none rules too many or too long a piece, or raise."""
    price = torch.zeros(len(energy))
    most = max(LARGEST_SHARE, 1.25 / len(energy))  # a lab's own weights may have but few donors
    for _ in range(200):
        share = torch.bincount(labels, minlength=len(energy)) / len(labels)
        if share.max() <= most:
            break
        price += (share - most).clamp_min(0)
        labels = (energy + price[:, None]).argmin(0)
    energy = energy + price[:, None]
    for limit, attempts in ((LARGEST_PIECE_MM, 40), (1.25 * LARGEST_PIECE_MM, 1)):
        for _ in range(attempts):
            pieces = (_too_long(labels == donor, live, limit) for donor in labels.unique().tolist())
            bad = torch.stack(list(pieces)).any(0)
            if not bad.any():
                return labels
            # to a donor that rules nothing beside it, so that no other piece grows
            beside = torch.zeros_like(energy).scatter_(0, labels[around].T, 1e3)
            labels = torch.where(bad, (energy + beside).argmin(0), labels)
    raise CpmaeError('no head could be put together from small parts of its donors: use another --seed')


def _too_long(ruled: Tensor, live: Tensor, limit_mm: float) -> Tensor:
    """Sites of connected pieces that lie too far from the middle of a piece that is too long."""
    reach = limit_mm / (SITE * VOXEL_MM)
    volume = np.zeros(int(np.prod(SITES)), bool)
    volume[live[ruled].numpy()] = True
    pieces, _ = ndimage.label(volume.reshape(SITES))
    bad = np.zeros(SITES, bool)
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        if max(part.stop - part.start for part in box) <= reach:
            continue
        where = np.argwhere(pieces == number)
        far = np.abs(where - np.median(where, 0)).max(1) > reach / 2 - 0.5
        bad[tuple(where[far].T)] = True
    return torch.from_numpy(bad.reshape(-1)[live.numpy()]) & ruled
