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

    InputError also if the heads of the T1w and of the `image` have too little in common.
    """
    t1w, other = (volumes.read(path, 'head') for path in (t1w_head, head))
    where = np.logical_and.reduce(
        [volumes.read(path, 'seen') & ~volumes.read(path, 'brain') for path in (t1w_head, head)]
    )
    try:
        np.save(table, learn(t1w, other, where))
    except InputError as error:
        raise InputError(f'{image}: {error}') from error
