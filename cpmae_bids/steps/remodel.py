"""Remodel: brain codes and a seed in, the codes of a new head out. The original head is no input."""

from pathlib import Path
from typing import Annotated

from cpmae_bids.deid.images import volumes
from cpmae_bids.steps import Output


def remodel(
    brain_codes: Path,
    head_codes: Annotated[Path, Output('head_codes.npz')],
    *,
    seed: int,
    steps: int,
    weights: Path | None = None,
) -> None:
    """Write the codes of a new head around a brain, from random ones refined `steps` times."""
    import torch

    from cpmae_bids.models.sampling import remodel as sample
    from cpmae_bids.models.weights import load_model, resolve_weights

    condition = [torch.from_numpy(level).long()[None] for level in volumes.read_codes(brain_codes)]
    found = resolve_weights(weights)
    mae, head, brain = (load_model(found, name) for name in ('mae', 'head', 'brain'))
    levels = sample(mae, head, brain, condition, seed=seed, steps=steps)
    volumes.write_codes(head_codes, [level[0].numpy() for level in levels])
