"""Learn how another contrast looks where the T1w scan looks so and so."""

from pathlib import Path
from typing import Annotated

import numpy as np

from cpmae_bids.deid.images import volumes
from cpmae_bids.deid.synthesis.contrast import learn
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps import Output


def contrast(image: Path, t1w_head: Path, head: Path, table: Annotated[Path, Output('contrast.npy')]) -> None:
    """Write the table of a contrast; see `cpmae_bids.deid.synthesis.contrast.learn`.

    Parameters
    ----------
    image : Path
        The scan of that contrast, for the name in messages.
    t1w_head, head : Path
        Heads of the T1w scan and of the scan on the template grid, ``.npz`` as the conform step writes them.
    table : Path
        To write, ``.npy``: float32 (11, 3).

    Raises
    ------
    InputError
        If the scans have too little of a head in common.
    """
    t1w, other = (volumes.read(path, 'head') for path in (t1w_head, head))
    where = np.logical_and.reduce(
        [volumes.read(path, 'seen') & ~volumes.read(path, 'brain') for path in (t1w_head, head)]
    )
    try:
        np.save(table, learn(t1w, other, where))
    except InputError as error:
        raise InputError(f'{image}: {error}') from error
