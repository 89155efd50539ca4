"""Give a generated head another contrast. Of the originals, tables of intensities are all that enters."""

from pathlib import Path
from typing import Annotated

import numpy as np

from cpmae_bids.deid.images import volumes
from cpmae_bids.deid.synthesis import contrast
from cpmae_bids.steps import Output, tone


def recolour(
    generated: Path,
    conformed: Path,
    statistics: Path,
    table: Path,
    head: Annotated[Path, Output('head.npz')],
    seed: int,
) -> None:
    """Write a generated head in another contrast.

    Parameters
    ----------
    generated : Path
        ``.npz``, (n, n, n): generated head on the template grid, as a T1w.
    conformed, statistics : Path
        Brain of the T1w on the template grid, and what is known of its head, from the conform step: the table
        holds for the intensities of that T1w.
    table : Path
        From the contrast step.
    head : Path
        To write, ``.npz``: float16 (n, n, n), in units of the brain scale of the contrast.
    seed : int
        Of what a T1w intensity leaves open.
    """
    toned = tone.tone(generated, conformed, statistics)
    volumes.write(head, head=contrast.apply(toned, np.load(table), seed))
