"""Decode head codes into a head on the template grid."""

from pathlib import Path
from typing import Annotated, Literal

from cpmae_bids.deid.images import intensity, volumes
from cpmae_bids.steps import Output

# Shortest edge of the voxels of a scan from which on detail is kept that would be noise in a finer one
COARSE_MM = 1.5


def decode(
    head_codes: Path,
    conformed: Path,
    head: Annotated[Path, Output('head.npz')],
    preset: Literal['128', '256'],
    *,
    seed: int,
    weights: Path | None = None,
    device: str = 'cpu',
) -> None:
    """Write the head that codes stand for, around a brain, which its skull follows.

    The `preset` says whether detail is drawn at 2 mm ('128') or 1 mm ('256'); `seed` is that of the detail.
    """
    import torch

    from cpmae_bids.models.drawing import draw
    from cpmae_bids.models.weights import load_model, resolve_weights

    levels = [torch.from_numpy(level).long()[None] for level in volumes.read_codes(head_codes)]
    found = resolve_weights(weights)
    drawn = draw(
        load_model(found, 'head'),
        load_model(found, 'superresolution', device),
        levels,
        volumes.read(conformed, 'mask'),
        seed=seed,
        coarse=float(volumes.read(conformed, 'edge_mm')) >= COARSE_MM,
        millimetre=preset == '256',
    )[0, 0].numpy()
    volumes.write(head, head=drawn.clip(0, intensity.CEILING))
