"""Do drawn faces vary as real ones do, are they plausible, and nobody's? What do a head's donors rule?

    python -m benchmarks.shape_draws WORK [--draws 8]

WORK is the work folder (``-w``) of a run over scans that no network was trained on. Shapes are drawn for
each of its brains from several seeds, and compared with those that the head VQ-VAE encoded of the originals:
by 40 points on the skin of the face, in mm, in the frame in which the brains lie on each other. The original
takes no part in a draw. A fit to a scan is smoother than its head: real faces vary more than their codes say
(`benchmarks.measures.diversity` has it of the outputs). One head is put together for each brain: what its
largest donor rules, how far a connected piece of a donor reaches, and how much the mismatch at the seams
falls from random exemplars on. Numbers go to ``results/shape_draws.json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from benchmarks.scans import command_line, write_result
from cpmae_bids.deid.images import volumes
from cpmae_bids.models.exemplars import SITE, SITES
from cpmae_bids.models.frame import VOXEL_MM
from cpmae_bids.models.plausibility import RANGE, Plausibility
from cpmae_bids.models.sampling import draw_appearance, draw_shape
from cpmae_bids.models.shape import Shape
from cpmae_bids.models.weights import load_model, resolve_weights

STEPS = 12
"""Rounds, as a run has them by default."""


def first_scans(work: Path) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Codes of the brain, and of the shape of the original, of the first T1w scan of each subject."""
    for subject in sorted(work.glob('cpmae_bids_wf/sub-*_wf')):
        brains = sorted(subject.glob('*_T1w_wf/**/encode_brain/codes.npz'))
        heads = sorted(subject.glob('*_T1w_wf/**/encode_head/codes.npz'))
        if brains and heads:
            levels = [torch.from_numpy(level).long()[None] for level in volumes.read_codes(brains[0])]
            yield levels, torch.from_numpy(volumes.read_codes(heads[0])[0]).long().flatten()


def outside(points: Tensor, reference: Tensor) -> Tensor:
    """Share of the distances of faces (N, P, 3) out of the range of reference faces (M, P, 3); (N,)."""
    distances, known = (torch.stack([F.pdist(face) for face in faces]) for faces in (points, reference))
    low, high = (torch.quantile(known, q, dim=0) for q in RANGE)
    return ((distances < low) | (distances > high)).float().mean(1)


def variance(points: Tensor) -> float:
    """Variance of the points of faces (N, P, 3), all axes together, in mm²."""
    return float(points.var(0).sum(1).mean())


def compare(plausibility: Plausibility, drawn: Tensor, real: Tensor) -> dict[str, float]:
    """Numbers of drawn faces beside real ones, both as scores (N, codes).

    Returns
    -------
    numbers : dict
        ``variance``, drawn over real; ``variance_training``, over training faces, which were registered
        more finely. ``within_training_range``: share of the drawn that lie in the ranges of training heads as
        95 % of these do. ``plausible``: share of the drawn whose distances are no odder than
        those of 95 % of the real ones are to the others. ``nobody``: share of the drawn, over that of the
        real, that lie farther from all training faces than 5 % of the real do.
    """
    points, known = plausibility.points(drawn), plausibility.points(real)
    others = ~torch.eye(len(known), dtype=torch.bool)
    odd = torch.cat([outside(known[i : i + 1], known[others[i]]) for i in range(len(known))])
    trained, drawn_faces = plausibility.faces.float(), plausibility.coordinates(drawn)
    away, ordinary = (
        torch.cdist(faces, trained).min(1).values for faces in (drawn_faces, plausibility.coordinates(real))
    )
    least = torch.quantile(ordinary, 0.05)
    return {
        'variance': variance(points) / variance(known),
        'variance_training': float(drawn_faces.var(0).sum() / trained.var(0).sum()),
        'within_training_range': float((plausibility.odd(drawn) <= plausibility.most_odd).float().mean()),
        'plausible': float((outside(points, known) <= torch.quantile(odd, 0.95)).float().mean()),
        'nobody': float((away >= least).float().mean() / (ordinary >= least).float().mean()),
    }


def donors(codes: Tensor, live: Tensor) -> tuple[float, float]:
    """Share of the live sites that the largest donor rules, and extent in mm of the longest piece.

    Parameters
    ----------
    codes : Tensor of int64, shape SITES
        Exemplars of sites; a donor and its mirror image count as two.
    live : Tensor of int64, shape (sites,)
    """
    ruled = torch.full(SITES, -1).flatten()
    ruled[live] = codes.flatten()[live]
    volume = ruled.view(SITES).numpy()
    longest = 0
    for donor in np.unique(volume[volume >= 0]):
        pieces, _ = ndimage.label(volume == donor)
        edges = [part.stop - part.start for box in ndimage.find_objects(pieces) for part in box]
        longest = max(longest, *edges)
    most = np.bincount(volume[volume >= 0]).max() / len(live)
    return float(most), longest * SITE * VOXEL_MM


def main(argv: list[str] | None = None) -> None:
    """Draw, compare, and write the numbers."""
    parser = command_line(__doc__)
    parser.add_argument('work', type=Path)
    parser.add_argument('--draws', type=int, default=8, help='shapes for each brain')
    args = parser.parse_args(argv)
    found = resolve_weights()
    mae, head, brain = (load_model(found, name) for name in ('mae', 'head', 'brain'))
    scans = list(first_scans(args.work))
    if len(scans) < 3:
        parser.error(f'{args.work}: codes of fewer than three scans')
    drawn, rejected, parts = [], Counter[str](), []
    for levels, _ in scans:
        features = mae.brain(brain.latent_of(levels))[0]
        for seed in range(args.draws):
            generator = torch.Generator().manual_seed(seed)
            codes, reasons = draw_shape(mae, head, features, generator=generator, steps=STEPS)
            drawn.append(Shape.values(codes))
            rejected.update(reasons)
        trace: list[float] = []
        scores = Shape.values(codes).float()
        labels = draw_appearance(mae, head, scores, features, generator=generator, steps=STEPS, trace=trace)
        bank = head.exemplars
        parts.append([*donors(bank.scatter(labels), bank.live), trace[-1] / trace[0] - 1])
    real = Shape.values(torch.stack([codes for _, codes in scans]))
    numbers = compare(mae.plausibility, torch.stack(drawn).float(), real.float())
    result = {
        'scans': len(scans),
        'draws': len(drawn),
        'accepted': round(len(drawn) / (len(drawn) + rejected.total()), 3),
        'rejected': dict(sorted(rejected.items())),
        **{name: round(value, 3) for name, value in numbers.items()},
        'largest_share': round(max(share for share, _, _ in parts), 3),
        'longest_piece_mm': max(piece for _, piece, _ in parts),
        'seam_energy_change': round(float(np.median([change for _, _, change in parts])), 3),
    }
    print(result)
    print(write_result('shape_draws', result))


if __name__ == '__main__':
    torch.set_grad_enabled(False)
    main()
