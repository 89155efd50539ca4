"""How much of the power of real heads survives decoding, without and with the detail that is drawn anew.

    python -m benchmarks.detail_power HEADS WORK [--split test] [--limit 6]

Scans are brought into the cube at 2 mm by cubic splines, encoded and decoded by the head VQ-VAE, and given
detail. The power of the tissue outside of the brain (`benchmarks.measures.classifier.spectrum`) is divided by
that of the scan. WORK keeps brain masks and affines. Writes ``results/detail_power.json``: means over scans.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.measures.classifier import BANDS_MM, spectrum
from benchmarks.run import spread
from benchmarks.scans import find_t1w, read_split, write_result

N, VOXEL_MM = 128, 2.0
SEED = 1


def main(argv: list[str] | None = None) -> None:
    """Measure all scans of a split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('heads', type=Path)
    parser.add_argument('work', type=Path, help='folder that keeps masks and affines')
    parser.add_argument('--split', default='test')
    parser.add_argument('--limit', type=int, help='at most so many scans, evenly spaced in their order')
    args = parser.parse_args(argv)

    import torch

    from cpmae_bids.deid.intensity import HOLE
    from cpmae_bids.models.weights import load_model, resolve_weights
    from cpmae_bids.training.data import decode_intensity
    from cpmae_bids.training.prepare import conform_scan

    found = resolve_weights()
    head, detail = load_model(found, 'head'), load_model(found, 'detail')
    args.work.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, list] = {'decoded': [], 'with detail': []}
    paths = find_t1w(args.heads, read_split(args.heads / 'participants.tsv', args.split))
    for path in spread(paths, args.limit or len(paths)):
        stored, brain, fov = conform_scan(path, args.work, N, order=3)[1:]
        real = np.where(brain, np.float32(HOLE), decode_intensity(stored))
        with torch.no_grad():  # finding the shape takes gradients of its own
            codes = head.encode(torch.from_numpy(real)[None, None])
            decoded = head.decode(codes)
        detailed = detail.add(
            decoded,
            torch.Generator().manual_seed(SEED),
            millimetre=False,
            displacement_mm=head.displacement(codes),
            brain=torch.from_numpy(brain)[None, None].float(),
        )
        excluded = brain | ~fov
        power, *others = (
            np.array(spectrum(volume, excluded, np.full(3, VOXEL_MM)))
            for volume in (real, decoded[0, 0].numpy(), detailed[0, 0].numpy())
        )
        for kind, other in zip(kinds, others, strict=True):
            kinds[kind].append(other / power)
    bands = [f'{high:g}-{low:g} mm' for high, low in pairwise(BANDS_MM) if low >= 2 * VOXEL_MM]
    numbers = {
        kind: dict(zip(bands, np.nanmean(rows, axis=0).round(3).tolist(), strict=False))
        for kind, rows in kinds.items()
    }
    print(numbers)
    print(write_result('detail_power', {'scans': len(kinds['decoded']), 'share_of_real_power': numbers}))


if __name__ == '__main__':
    main()
