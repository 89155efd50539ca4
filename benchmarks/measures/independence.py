"""Does the tool leak more than the brain does: another head around the same brain must change nothing.

Everything outside the kept mask is replaced by the head of another scan, aligned by the brains. What the
generator is given is then compared twice: with the brain mask of the original, and with the mask that deepbet
finds in the transplant, which may differ as the network sees the head as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import generate, surfaces
from benchmarks.pairs import Pair, run_folder
from benchmarks.statistics import bootstrap, share
from cpmae_bids.deid.images.intensity import SKIN

METHODS = ('cpmae-256',)
SCANS = 4
SEED, OTHER_SEED = 1, 2


def donor_of(pair: Pair) -> Pair:
    """The scan after this one, as the run lists them; the first after the last."""
    listed = [Pair.load(line) for line in (run_folder(pair) / 'scans.jsonl').read_text().splitlines()]
    position = [one.scan for one in listed].index(pair.scan)
    donor = listed[(position + 1) % len(listed)]
    if donor.scan == pair.scan:
        raise ValueError('a transplant takes two scans')
    return donor


def transplant(pair: Pair, donor: Pair, out: Path) -> None:
    """Write the original of a pair with the head of another around its kept mask."""
    from cpmae_bids.deid.images import intensity, nifti
    from cpmae_bids.deid.space import geometry
    from cpmae_bids.deid.synthesis import blending
    from cpmae_bids.steps.conform import read_affine

    scan, other = nifti.read(pair.original), nifti.read(donor.original)
    values, other_values = scan.values(), other.values()
    scales = [
        intensity.brain_scale(data[nifti.read_mask(one.brain_mask, image)])
        for one, image, data in ((pair, scan, values), (donor, other, other_values))
    ]
    to_donor = np.linalg.inv(other.affine) @ np.linalg.inv(read_affine(donor.affine))
    to_donor = to_donor @ read_affine(pair.affine) @ scan.affine
    head = geometry.resample(other_values, to_donor, scan.shape) * (scales[0] / scales[1])
    raw = blending.to_raw(head.astype(np.float32), scan)
    kept = nifti.read_mask(pair.kept_mask, scan)
    raw[kept] = scan.raw[kept]
    nifti.write(out, raw, scan)


def measure(pair: Pair) -> dict[str, float | bool]:
    """What of the generated head changes when the original head is exchanged.

    Returns
    -------
    found : dict
        ``same_given_mask``: whether the codes of the generated head are identical, the brain mask being that
        of the original. With the mask found anew: ``mask_dice``; ``same`` as above; ``brain_codes_same`` and
        ``head_codes_same``, shares of codes; ``moved``, mean distance (mm) of the generated faces; and
        ``moved_by_seed``, what another seed does.
    """
    import nibabel as nib

    from cpmae_bids.deid.images import volumes
    from cpmae_bids.steps.register import register
    from cpmae_bids.steps.skullstrip import skullstrip

    swapped = pair.work / 'transplant.nii.gz'
    transplant(pair, donor_of(pair), swapped)

    def generated(name: str, t1w: Path, mask: Path, seed: int) -> tuple[Path, Path, list[np.ndarray]]:
        folder = pair.work / name
        folder.mkdir(exist_ok=True)
        register(t1w, mask, folder / 'affine.txt')
        brain = generate.brain_codes(t1w, mask, folder / 'affine.txt', folder)
        return folder, brain, generate.head_codes(brain, seed, folder)

    own, own_brain, own_codes = generated('own', pair.original, pair.brain_mask, SEED)
    _, _, given_codes = generated('given_mask', swapped, pair.brain_mask, SEED)
    mask = pair.work / 'transplant_brain.nii.gz'
    skullstrip(swapped, mask, pair.work / 'transplant_kept.nii.gz')
    anew, anew_brain, anew_codes = generated('anew', swapped, mask, SEED)
    generate.head_codes(own_brain, OTHER_SEED, own)

    everywhere = np.ones((surfaces.N,) * 3, bool)
    faces = [
        surfaces.trace(surfaces.smooth(generate.head(seed, folder)), everywhere, 'face', SKIN)
        for folder, seed in ((own, SEED), (anew, SEED), (own, OTHER_SEED))
    ]
    before, after = (np.asanyarray(nib.load(path).dataobj) > 0 for path in (pair.brain_mask, mask))
    return {
        'same_given_mask': _same(own_codes, given_codes) == 1,
        'mask_dice': float(2 * (before & after).sum() / (before.sum() + after.sum())),
        'same': _same(own_codes, anew_codes) == 1,
        'brain_codes_same': _same(volumes.read_codes(own_brain), volumes.read_codes(anew_brain)),
        'head_codes_same': _same(own_codes, anew_codes),
        'moved': float(np.nanmean(np.abs(faces[0] - faces[1]))),
        'moved_by_seed': float(np.nanmean(np.abs(faces[0] - faces[2]))),
    }


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Share of equal codes over all levels."""
    return float(np.mean(np.concatenate([(a == b).ravel() for a, b in zip(one, other, strict=True)])))


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """Shares of scans for truth values, means for the rest."""
    pooled = {}
    for method, scans in values.items():
        found = list(scans.values())
        pooled[method] = {
            key: list((share if isinstance(found[0][key], bool) else bootstrap)([one[key] for one in found]))
            for key in (found[0] if found else {})
        }
    return pooled
