"""Encode brain or head into integer volumes with its VQ-VAE."""

from pathlib import Path
from typing import Annotated, Literal

from cpmae_bids.deid.images import volumes
from cpmae_bids.steps import Output


def encode(
    conformed: Path,
    codes: Annotated[Path, Output('codes.npz')],
    which: Literal['brain', 'head'],
    *,
    weights: Path | None = None,
    device: str = 'cpu',
) -> None:
    """Write the codes of a brain or a head; `which` says whose file of the conform step it is."""
    import torch

    from cpmae_bids.models.weights import load_model, resolve_weights

    volume = volumes.read(conformed, which).astype('float32')
    model = load_model(resolve_weights(weights), which, device)
    if which == 'head':
        levels = model.encode(volume, *(volumes.read(conformed, name) for name in ('brain', 'seen')))
    else:
        levels = model.encode(torch.from_numpy(volume)[None, None].to(device))
    volumes.write_codes(codes, [level[0].cpu().numpy() for level in levels])
