"""How dark and how bright are drawn heads, and the same heads as scanned?

    python -m benchmarks.tone PREPARED [--every 11]

PREPARED is the file of ``cpmae-bids-train prepare --cubic`` at 2 mm. Heads are drawn around the brains of its
training heads, before their tones are corrected; voxels deeper than some 6 mm beneath the skin are compared.
The quantiles are those of `cpmae_bids.deid.tone`; they go to ``results/tone.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.scans import write_result

FIRST = 3
"""First head that is taken: heads are sorted by name."""

DEPTH = 3
"""Voxels of 2 mm beneath the skin from which on heads are compared."""

TENTHS = np.linspace(0.1, 0.9, 9)


def main(argv: list[str] | None = None) -> None:
    """Compare drawn and scanned heads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('prepared', type=Path)
    parser.add_argument('--every', type=int, default=11, help='one of so many heads')
    args = parser.parse_args(argv)

    import torch

    from cpmae_bids.deid import intensity, skin
    from cpmae_bids.models.sampling import complete
    from cpmae_bids.models.weights import load_model, resolve_weights
    from cpmae_bids.training.augment import HOLE
    from cpmae_bids.training.data import decode_intensity, read_prepared

    found = resolve_weights(None)
    mae, head, brain, detail = (load_model(found, name) for name in ('mae', 'head', 'brain', 'detail'))

    def deep(codes):
        """Where a head is deep to its skin."""
        surface = skin.find(*(part[0, 0].numpy() for part in (head.decode(codes), head.decode_mean(codes))))
        return ndimage.binary_erosion(surface.inside > 0.5, iterations=DEPTH)

    scanned, drawn = [], []
    heads = [one for one in read_prepared(args.prepared) if one.split == 'train'][FIRST :: args.every]
    for number, one in enumerate(heads):
        image = decode_intensity(one.image)
        around = np.where(one.brain, np.float32(HOLE), image)
        outside = one.fov & ~ndimage.binary_dilation(one.brain, np.ones((3, 3, 3)))
        inside = torch.from_numpy(np.where(one.brain, image, np.float32(0)))[None, None]
        generator = torch.Generator().manual_seed(number)
        own = head.encode(torch.from_numpy(around)[None, None])
        codes = complete(mae, head, brain.latent_of(brain.encode(inside)), [], generator=generator)
        made = detail.add(
            head.decode(codes),
            generator,
            millimetre=False,
            displacement_mm=head.displacement(codes),
            brain=torch.from_numpy(one.brain.astype(np.float32))[None, None],
        )[0, 0].clamp(0, intensity.CEILING)
        scanned.append(np.quantile(around[deep(own) & outside], TENTHS))
        drawn.append(np.quantile(made.numpy()[deep(codes) & outside], TENTHS))
    numbers = {
        'heads': len(heads),
        'quantiles': TENTHS.round(1).tolist(),
        'drawn': np.mean(drawn, 0).round(3).tolist(),
        'scanned': np.mean(scanned, 0).round(3).tolist(),
    }
    print(numbers)
    print(write_result('tone', numbers))


if __name__ == '__main__':
    main()
