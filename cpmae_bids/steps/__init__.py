"""The steps of the pipeline: plain functions, files in, files out.

A step is the function that its module is named after. Its signature says all there is to say of it: a
parameter of type `Path` is a file, to write if it is annotated with an `Output`; all others are settings. Of
that, `cpmae_bids.interfaces.step` makes an interface of nipype, and ``python -m cpmae_bids.steps NAME
inputs.json`` runs one by hand.

All raise InputError if a file cannot be read. Those with models take a folder of `weights`
(`cpmae_bids.models.weights.resolve_weights`), or raise WeightsError, and a `device`, 'cpu', 'cuda' or
'cuda:N'; `remodel` computes on the CPU: a seed and the codes of a brain give one head on every device.

Files have the same names in all steps. The template grid has the axes x to the right, y to the front, z up,
and intensities are in units of the brain scale there: white matter is about 1.

t1w, image, refaced
    A scan, NIfTI; `image` is one of any contrast, `refaced` one with the generated head.
brain_mask, kept_mask, deface_mask
    Brain, preserved region and what was replaced; NIfTI, uint8 on the grid of the scan.
affine
    World of the scan to world of the template (RAS mm); text, 4x4.
brain or conformed
    Brain on the template grid, ``.npz``: ``brain`` float32 (128, 128, 128), the mean of what lies at 1 mm and
    is 0 outside the brain; ``mask`` bool, where most of that is brain; ``scale``, the intensity of the scan
    that is 1 on the template grid; ``edge_mm``, the shortest edge of its voxels.
head
    Original head on the template grid, ``.npz``: ``head`` float16 (128, 128, 128), constant in the brain;
    ``brain`` and ``seen`` bool, brain mask and field of view.
statistics
    Brightness of the tissue of the scan, JSON (`cpmae_bids.deid.synthesis.tissue.TissueStatistics`). All that
    the new head owes to the old one.
codes
    Integer volumes of a VQ-VAE, ``.npz``: ``level0``, ``level1``, ...; int16, coarse to fine.
generated, or head of the decode and recolour steps
    Generated head on the template grid and below it, ``.npz``: ``head`` float16 (256, 256, 288).
table
    T1w intensities to those of another contrast, ``.npy``: float32 (11, 3).
noise_model
    JSON: ``Air``, by which noise was drawn, and ``StoredRange``, within which values lie.
verdict
    JSON, see `cpmae_bids.steps.verdict`.
"""

from collections.abc import Callable
from dataclasses import dataclass

ERROR_PREFIX = 'cpmae-bids: '  # how a step marks the one line that says what went wrong


@dataclass(frozen=True)
class Output:
    """Annotation of a parameter: a file that the step writes."""

    file_name: str  # its name in the folder of the node, if the caller gives none
    optional: bool = False  # whether the step may end well without it


def name_of(step: Callable) -> str:
    """Name of a step: that of its module."""
    return step.__module__.rpartition('.')[2]
