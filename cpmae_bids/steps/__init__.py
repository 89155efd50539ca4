"""The steps of the pipeline: plain functions, files in, files out.

A step is the function that its module is named after. Its signature says all there is to say of it: a
parameter of type `Path` is a file, to write if it is annotated with an `Output`; all others are settings. Of
that, `cpmae_bids.interfaces.step` makes an interface of nipype, and ``python -m cpmae_bids.steps NAME
inputs.json`` runs one by hand.

All raise InputError if a file cannot be read. Those with models take a `device`, 'cpu', 'cuda' or 'cuda:N',
and a folder of `weights` (`cpmae_bids.models.weights.resolve_weights`), or raise WeightsError.
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
