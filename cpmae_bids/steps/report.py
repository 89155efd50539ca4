"""Draw the refaced scan for the report that is shared.

The original is not among the inputs, so that nothing but the generated head can be seen.
"""

import json
from pathlib import Path
from typing import Annotated

from cpmae_bids.deid.images import nifti
from cpmae_bids.exceptions import VerdictError
from cpmae_bids.reports.pictures import face_picture, png, slices_picture
from cpmae_bids.steps import Output


def report(
    refaced: Path,
    kept_mask: Path,
    verdict: Path,
    slices: Annotated[Path, Output('slices.png', optional=True)],
    face: Annotated[Path, Output('face.png', optional=True)],
) -> None:
    """Write the pictures (PNG) of one scan; none if its verdict is not 'pass'.

    VerdictError if it passed but shows no head that could be drawn.
    """
    if json.loads(verdict.read_text(encoding='utf-8'))['status'] != 'pass':
        return
    scan = nifti.read(refaced)
    values = scan.values()
    try:
        face_png = png(face_picture(values, scan.affine))
    except ValueError as error:
        raise VerdictError(f'{refaced}: no head to draw ({error}): its verdict cannot be right') from error
    face.write_bytes(face_png)
    slices.write_bytes(png(slices_picture(values, scan.affine, nifti.read_mask(kept_mask, scan))))
