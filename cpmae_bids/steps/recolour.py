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

    `conformed` and `statistics` are of the T1w, for whose intensities the table holds. `seed` is that of what
    a T1w intensity leaves open.
    """
    toned = tone.tone(generated, conformed, statistics)
    volumes.write(head, head=contrast.apply(toned, np.load(table), seed))
