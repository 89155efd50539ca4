"""Plausibility of drawn shapes: is it a face, and nobody's?

Points on the skin of the mean face move with the shape. A draw is accepted if the distances between them lie
in the range of training heads, and if it is no nearer to a training face than training faces are to each
other.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpmae_bids.models.frame import FIELD, Frame
from cpmae_bids.models.shape import NODES, Shape

POINTS = 40  # points on the face, as far from each other as they can be
# Range of x, y, z in mm from the middle of the frame, in which the mean face lies
FACE = ((-60, 60), (35, 130), (-120, 45))
NODE_MM = 8.0
RANGE = (0.01, 0.99)  # quantiles of the training heads between which a distance is ordinary
COORDINATES = 12  # principal components by which faces are compared


class Plausibility(nn.Module):
    """Accepts or rejects scores of shape; `faces` counts training faces and their mirror images."""

    rest: Tensor
    moves: Tensor
    low: Tensor
    high: Tensor
    most_odd: Tensor
    basis: Tensor
    faces: Tensor
    nearest: Tensor

    def __init__(self, codes: int, faces: int):
        super().__init__()
        pairs = POINTS * (POINTS - 1) // 2
        self.register_buffer('rest', torch.zeros(POINTS, 3))  # mm
        self.register_buffer('moves', torch.zeros(POINTS, 3, codes))  # mm per standard deviation
        self.register_buffer('low', torch.zeros(pairs))
        self.register_buffer('high', torch.zeros(pairs))
        self.register_buffer('most_odd', torch.ones(()))
        self.register_buffer('basis', torch.zeros(COORDINATES, POINTS * 3))
        self.register_buffer('faces', torch.zeros(faces, COORDINATES))
        self.register_buffer('nearest', torch.zeros(()))

    def points(self, scores: Tensor) -> Tensor:
        """Points of faces (N, POINTS, 3) in mm, of scores (N, codes)."""
        return self.rest.float() + torch.einsum('pck,nk->npc', self.moves.float(), scores.float())

    def odd(self, scores: Tensor) -> Tensor:
        """Share of the distances of each face that are out of the range of training heads; (N,)."""
        distances = torch.stack([F.pdist(points) for points in self.points(scores)])
        return ((distances < self.low.float()) | (distances > self.high.float())).float().mean(1)

    def coordinates(self, scores: Tensor) -> Tensor:
        """Faces (N, COORDINATES) whose distances are those of their points, root mean square in mm."""
        moved = (self.points(scores) - self.rest.float()).flatten(1)
        return moved @ self.basis.float().T / POINTS**0.5

    def reason(self, scores: Tensor) -> str | None:
        """Why scores (codes,) are rejected: 'implausible' or 'near a training face'; None if accepted."""
        if float(self.odd(scores[None])) > float(self.most_odd):
            return 'implausible'
        away = torch.cdist(self.coordinates(scores[None]), self.faces.float()).min()
        return 'near a training face' if float(away) < float(self.nearest) else None

    @torch.no_grad()
    def fit(self, frame: Frame, shape: Shape, scores: Tensor) -> None:
        """Learn ranges and faces from scores (N, codes) of training heads, then of their mirror images."""
        places = _spread(_skin_of_face(frame))
        self.rest.copy_(torch.from_numpy(places * NODE_MM))
        # a point of the frame lies where the inverse of the map leads: minus the displacement, to first order
        size = torch.tensor(NODES, dtype=torch.float32)
        grid = ((torch.from_numpy(places).float() + 0.5) * 2 / size - 1).flip(1).view(1, 1, 1, -1, 3)
        basis = shape.basis()
        moves = F.grid_sample(basis, grid.expand(len(basis), -1, -1, -1, -1), align_corners=False)
        self.moves.copy_(-NODE_MM * moves[:, :, 0, 0].permute(2, 1, 0))
        distances = torch.stack([F.pdist(points) for points in self.points(scores)])
        low, high = (torch.quantile(distances, q, dim=0) for q in RANGE)
        self.low.copy_(low)
        self.high.copy_(high)
        self.most_odd.copy_(torch.quantile(self.odd(scores), 0.95))
        moved = (self.points(scores) - self.rest).flatten(1)
        _, _, axes = torch.linalg.svd(moved - moved.mean(0), full_matrices=False)
        kept = min(COORDINATES, len(axes))
        self.basis.zero_()
        self.basis[:kept] = axes[:kept]
        faces = self.coordinates(scores)
        people = len(scores) // 2
        apart = torch.cdist(faces, faces)
        for k in (0, people):  # neither oneself nor one's mirror image
            rows = torch.arange(len(faces))
            apart[rows, (rows + k) % len(faces)] = torch.inf
        self.nearest.copy_(torch.quantile(apart.min(1).values, 0.05))
        self.faces.copy_(faces[torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))])


def _skin_of_face(frame: Frame) -> np.ndarray:
    """Points on the mean skin of the face (M, 3), in nodes of 8 mm."""
    skin = frame.skin_mm.float().numpy()
    middle = (np.array(FIELD) - 1) / 2
    where = np.argwhere(np.abs(skin) < 2.0)
    mm = (where - middle) * 4.0
    inside = np.all([(mm[:, a] > low) & (mm[:, a] < high) for a, (low, high) in enumerate(FACE)], axis=0)
    return (where[inside] - 0.5) / 2


def _spread(places: np.ndarray) -> np.ndarray:
    """`POINTS` of the places, each as far as can be from those before it."""
    chosen = [places[places[:, 1].argmax()]]  # the tip of the nose
    apart = np.full(len(places), np.inf)
    for _ in range(POINTS - 1):
        apart = np.minimum(apart, np.linalg.norm(places - chosen[-1], axis=1))
        chosen.append(places[apart.argmax()])
    return np.array(chosen)
