"""Heads drawn around the brains of training heads, before their tones and shading are corrected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cpmae_bids.deid import skin
from cpmae_bids.training.augment import HOLE
from cpmae_bids.training.data import Head, decode_intensity, read_prepared


@dataclass(frozen=True)
class Drawn:
    """A drawn head, and the one as scanned; volumes are float32, (128, 128, 128).

    Attributes
    ----------
    head : Head
        Of the prepared file.
    scanned : ndarray
        Without its brain.
    drawn : ndarray
        With detail, without skin.
    own_skin, skin : Skin
        Of the codes of the scanned head, and of the drawn one.
    """

    head: Head
    scanned: np.ndarray
    drawn: np.ndarray
    own_skin: skin.Skin
    skin: skin.Skin


def without_brain(one: Head) -> np.ndarray:
    """A scanned head as the network for heads sees it; float32, (n, n, n)."""
    return np.where(one.brain, np.float32(HOLE), decode_intensity(one.image))


def draw_heads(prepared: Path, first: int, every: int) -> Iterator[Drawn]:
    """Draw a head around the brain of one of so many training heads, with the released weights.

    Parameters
    ----------
    prepared : Path
        File of ``cpmae-bids-train prepare --cubic`` at 2 mm.
    first, every : int
        The first one, and the step from one to the next; heads are sorted by name.
    """
    import torch

    from cpmae_bids.deid import intensity
    from cpmae_bids.models.sampling import complete
    from cpmae_bids.models.weights import load_model, resolve_weights

    found = resolve_weights(None)
    mae, head, brain, detail = (load_model(found, name) for name in ('mae', 'head', 'brain', 'detail'))

    def surface(codes):
        return skin.find(*(part[0, 0].numpy() for part in (head.decode(codes), head.decode_mean(codes))))

    heads = [one for one in read_prepared(prepared) if one.split == 'train'][first::every]
    for number, one in enumerate(heads):
        around = without_brain(one)
        inside = np.where(one.brain, decode_intensity(one.image), np.float32(0))
        generator = torch.Generator().manual_seed(number)
        own = head.encode(torch.from_numpy(around)[None, None])
        latent = brain.latent_of(brain.encode(torch.from_numpy(inside)[None, None]))
        codes = complete(mae, head, latent, [], generator=generator)
        made = detail.add(
            head.decode(codes),
            generator,
            millimetre=False,
            displacement_mm=head.displacement(codes),
            brain=torch.from_numpy(one.brain.astype(np.float32))[None, None],
        )
        drawn = made[0, 0].clamp(0, intensity.CEILING).numpy()
        yield Drawn(one, around, drawn, surface(own), surface(codes))
