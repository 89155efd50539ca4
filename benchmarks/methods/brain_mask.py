"""Step: deepbet's brain mask of a scan, and the kept mask."""

from __future__ import annotations

from importlib.metadata import version as installed

from benchmarks.methods import Refused
from benchmarks.pairs import Pair


def version() -> str:
    return f'deepbet {installed("deepbet")}'


def make(pair: Pair) -> None:
    from cpmae_bids.exceptions import InputError
    from cpmae_bids.steps.skullstrip import skullstrip

    try:
        skullstrip(pair.output, pair.brain_mask, pair.kept_mask)
    except InputError as error:
        raise Refused(str(error)) from error
