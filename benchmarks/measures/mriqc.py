"""Does MRIQC survive? Its measures of contrast and air, before and after.

The formulas are those of MRIQC (Esteban et al., MRIQC: advancing the automatic prediction of image quality in
MRI from unseen sites, PLOS ONE 12:e0184661, 2017, table 2) as its current version computes them. Images are
prepared like there (N4 by the brain mask, negative values to 0, white matter's median to 1000), with brain
mask and tissues by deepbet and Atropos instead of SynthStrip and FAST, and labels instead of partial volumes.
All masks come from the image that is measured; the affine of the brain alone is shared, and places the plane
through glabella and inion below which no air is looked at.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks import derived
from benchmarks.methods.rescan import partner
from benchmarks.pairs import DOWNSTREAM, RESCAN, Pair
from benchmarks.statistics import bootstrap

METHODS = DOWNSTREAM

SCANS = 5
"""Of the split: N4, Atropos and registrations take minutes of a core for each scan and method."""

GLABELLA_Z = -14.0
"""Height (mm) of glabella and inion in the template."""

RELATIVE = ('efc', 'fber', 'cjv', 'cnr', 'snrd', 'bg_mean', 'bg_median', 'bg_mad', 'bg_p05', 'bg_p95')
"""Measures of which the change is given, in percent of the original's."""

_EDGES = ndimage.generate_binary_structure(3, 2)


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare the measures of output and original.

    Returns
    -------
    numbers : dict
        Those of `quality` for the output, and ``<name>_change`` for `RELATIVE`: percent, signed; None where
        one of the two is no number or the original's is 0. ``crash``: a measure or a value of the image is no
        number, or no brain is found.
    """
    # air and noise change where they are resampled: the other scan of the person is measured as it is
    other = partner(pair) if pair.method == RESCAN else None
    after = _measures(other, 'original') if other else _measures(pair, 'output')
    before = after if pair.method == 'original' else _measures(pair, 'original')
    changes = {f'{name}_change': change(before[name], after[name]) for name in RELATIVE}
    crash = any(value is None for value in after.values()) or not _finite((other or pair).output)
    return {**after, **changes, 'crash': crash}


def pool(values: dict[str, dict[str, dict]], out) -> dict[str, dict[str, list[float]]]:
    """Mean size of the changes, whatever their sign: percent, with its 95 % interval."""
    pooled = {}
    for method, scans in values.items():
        pooled[method] = {}
        for name in (f'{name}_change' for name in RELATIVE):
            found = [abs(one[name]) for one in scans.values() if one.get(name) is not None]
            pooled[method][f'{name}_abs'] = list(bootstrap(np.array(found)))
    return pooled


def change(before: float | None, after: float | None) -> float | None:
    """Percent of `before`; None if one is None, or `before` alone is 0."""
    if before is None or after is None:
        return None
    if before == after:
        return 0.0
    return 100 * (after - before) / abs(before) if before else None


def _measures(pair: Pair, role: derived.Role) -> dict[str, float | None]:
    try:
        labels = derived.tissue(pair, role)
    except derived.NoBrainError:
        return dict.fromkeys((*RELATIVE, 'air_zeros', 'qi2_fits'))
    values, affine = derived.image(pair, role)
    inside = derived.brain(pair, role)
    field = np.ones_like(values)
    field[inside] = derived.bias(pair, role, 'brain')
    above = above_plane(values.shape, np.loadtxt(pair.affine) @ affine)
    return quality(values, field, labels, inside, above, affine)


def _finite(path: Path) -> bool:
    return bool(np.isfinite(np.asanyarray(nib.load(path).dataobj)).all())


def quality(
    values: np.ndarray,
    field: np.ndarray,
    labels: np.ndarray,
    inside: np.ndarray,
    above: np.ndarray,
    affine: np.ndarray,
) -> dict[str, float | None]:
    """Measures of one image.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
    field : ndarray, shape (X, Y, Z)
        Bias field; positive.
    labels : ndarray of uint8, shape (X, Y, Z)
        1 CSF, 2 grey, 3 white matter.
    inside, above : ndarray of bool, shape (X, Y, Z)
        The brain, and what lies above the plane through glabella and inion.
    affine : ndarray, shape (4, 4)

    Returns
    -------
    numbers : dict
        ``efc``, ``fber``, ``cjv``, ``cnr``, ``snrd`` (mean over the tissues); ``bg_mean``, ``bg_median``,
        ``bg_mad``, ``bg_p05``, ``bg_p95`` of the air above the plane, without artefacts; ``air_zeros``, share
        of that air that is exactly 0; ``qi2_fits``: the noise of the air can be fitted. None where MRIQC
        gets no number, or stops.
    """
    from cpmae_bids.deid.space import geometry

    image = np.clip(values / field, 0, None)
    image *= 1000 / np.median(image[labels == 3])
    head = head_mask(image, inside, geometry.voxel_sizes(affine))
    frame = rotation_frame(values)
    hat = ~head & above
    air = hat & ~artefacts(image, hat, ndimage.distance_transform_edt(~head))
    tissues = [summary(image[labels == label]) for label in (1, 2, 3)]
    background = summary(image[air])
    with np.errstate(all='ignore'):
        numbers = {
            'efc': efc(image[~frame]),
            'fber': fber(image[head], image[~head & ~frame]),
            'cjv': cjv(tissues[2], tissues[1]),
            'cnr': cnr(tissues[2], tissues[1], background),
            'snrd': float(np.mean([snrd(one['median'], background) for one in tissues])),
            **{f'bg_{name}': background[name] for name in ('mean', 'median', 'mad', 'p05', 'p95')},
            'air_zeros': float(np.mean(values[air] == 0)) if air.any() else np.nan,
            'qi2_fits': 1.0 if qi2_fits(image[hat]) else np.nan,
        }
    return {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}


def summary(values: np.ndarray) -> dict[str, float]:
    """Mean, median, stdv, mad (times 1.48: the stdv of normal values), p05 and p95 of a region."""
    if not values.size:
        return dict.fromkeys(('mean', 'median', 'stdv', 'mad', 'p05', 'p95'), np.nan)
    p05, median, p95 = np.percentile(values, [5, 50, 95])
    mad = np.median(np.abs(values - median)) / 0.6744897501960817  # the 75th percentile of the normal
    mean, stdv = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    numbers = {'mean': mean, 'median': median, 'stdv': stdv, 'mad': mad, 'p05': p05, 'p95': p95}
    return {name: float(value) for name, value in numbers.items()}


def efc(values: np.ndarray) -> float:
    """Entropy focus criterion: 0 for one bright voxel, 1 for equal voxels.

    Atkinson et al., Automatic correction of motion artifacts in magnetic resonance images using an entropy
    focus criterion, IEEE Transactions on Medical Imaging 16:903-910, 1997; divided by its maximum,
    as MRIQC does.

    Parameters
    ----------
    values : ndarray
        Not negative.
    """
    values = values.astype(np.float64).ravel()
    share = values / np.sqrt((values**2).sum())
    entropy = -(share * np.log(share + 1e-16)).sum()
    return float(entropy / (np.sqrt(values.size) * np.log(np.sqrt(values.size))))


def fber(head: np.ndarray, background: np.ndarray) -> float:
    """Foreground to background energy ratio: medians of the squares; -1 where the background has no energy.

    Shehzad et al., The Preprocessed Connectomes Project quality assessment protocol, Neuroinformatics 2015.
    """
    if not background.size:
        return np.nan
    energy = np.median(background.astype(np.float64) ** 2)
    return -1.0 if energy < 1e-3 else float(np.median(head.astype(np.float64) ** 2) / energy)


def cjv(white: dict, grey: dict) -> float:
    """Coefficient of joint variation: (mad of white + mad of grey) / difference of their medians.

    Ganzetti et al., Intensity inhomogeneity correction of structural MR images, Frontiers in Neuroinformatics
    10:10, 2016.
    """
    return np.divide(white['mad'] + grey['mad'], abs(white['median'] - grey['median']))


def cnr(white: dict, grey: dict, air: dict) -> float:
    """Contrast to noise: difference of the medians over the root of the three summed variances.

    Magnotta and Friedman, Measurement of signal-to-noise and contrast-to-noise in the fBIRN multicenter
    imaging study, Journal of Digital Imaging 19:140-147, 2006.
    """
    noise = np.sqrt(air['stdv'] ** 2 + white['stdv'] ** 2 + grey['stdv'] ** 2)
    return np.divide(abs(white['median'] - grey['median']), noise)


def snrd(signal: float, air: dict) -> float:
    """Dietrich's signal to noise: median over the noise of the air, which is Rayleigh distributed.

    Dietrich et al., Measurement of signal-to-noise ratios in MR images, Journal of Magnetic Resonance Imaging
    26:375-385, 2007, equation A.12. The noise is the mad, the stdv where that is 1 or less (of 1000 in white
    matter); -1 where there is no noise.
    """
    noise = air['mad'] if air['mad'] > 1 else air['stdv']
    return -1.0 if noise <= 1e-3 else float(signal * np.sqrt((4 - np.pi) / 2) / noise)


def qi2_fits(hat: np.ndarray) -> bool:
    """Whether the distribution of the air can be fitted: MRIQC divides it by its 99th percentile.

    Air that is 0 but for a few of its voxels stops MRIQC there: "Input X contains NaN". Below a thousand
    voxels that are not 0 it does not try.
    """
    return int((hat > 0).sum()) < 1000 or np.percentile(hat, 99) > 0


def head_mask(image: np.ndarray, inside: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Head by its gradients: bool, shape (X, Y, Z).

    Mortamet et al., Automatic quality assessment in structural brain magnetic resonance imaging, Magnetic
    Resonance in Medicine 62:365-372, 2009, as in MRIQC: gradients (sigma 4 mm) above 15 % of their 99.5th
    percentile, and the brain; closed, the largest component, filled. Without its denoising; filled slice by
    slice as well, for necks are open below.
    """
    scaled = image * np.float32(100 / np.percentile(image, 99.5))
    scaled[inside] = 100
    gradient = ndimage.gaussian_gradient_magnitude(scaled, 4 / np.asarray(sizes))
    head = (gradient > 0.15 * np.percentile(gradient, 99.5)) | inside
    width = int(np.ceil(4 / np.min(sizes)))
    head = ndimage.binary_closing(np.pad(head, width), _EDGES, iterations=width)
    head = head[width:-width, width:-width, width:-width]
    components, count = ndimage.label(head)
    if count > 1:
        head = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    for axis in range(3):
        plane = np.zeros((3, 3, 3), bool)
        plane[tuple(1 if other == axis else slice(None) for other in range(3))] = True
        head |= ndimage.binary_fill_holes(head, plane & ndimage.generate_binary_structure(3, 1))
    return head


def rotation_frame(values: np.ndarray) -> np.ndarray:
    """Voxels that are 0 because the image was turned: the two largest solid regions of zeros, if any.

    Bool, shape (X, Y, Z). MRIQC leaves them out of EFC and FBER; air set to 0 counts as such a frame.
    """
    zeros = ndimage.binary_opening(np.pad(values <= 0, 1, constant_values=True), _EDGES)
    components, count = ndimage.label(zeros)
    if count > 2:
        sizes = np.bincount(components.ravel())
        zeros = np.isin(components, 1 + np.argsort(sizes[1:])[-2:])
    zeros = zeros[1:-1, 1:-1, 1:-1]
    return zeros if zeros.sum() >= 500 else np.zeros_like(zeros)


def artefacts(image: np.ndarray, hat: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Air that is too bright for noise, and far from the head; bool, shape (X, Y, Z).

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
    hat : ndarray of bool, shape (X, Y, Z)
        Air above the plane.
    distance : ndarray, shape (X, Y, Z)
        To the head; a tenth of the largest is near.
    """
    found = np.zeros(hat.shape, bool)
    positive = hat & (image > 0)
    if positive.sum() < 10:
        return found
    spread = summary(image[positive])['mad']
    found[positive] = image[positive] > 10 * spread
    found &= distance >= 0.1 * distance[hat].max()
    return ndimage.binary_opening(found) & hat


def above_plane(shape, to_template: np.ndarray) -> np.ndarray:
    """Voxels above the plane through glabella and inion; bool, shape `shape`.

    Parameters
    ----------
    shape : tuple of int
    to_template : ndarray, shape (4, 4)
        Voxel indices to world of the template (mm).
    """
    index = np.indices(shape, sparse=True)
    height = sum(factor * axis for factor, axis in zip(to_template[2, :3], index, strict=True))
    return height + to_template[2, 3] >= GLABELLA_Z
