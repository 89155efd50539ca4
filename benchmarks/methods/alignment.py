"""Step: affine map from the brain of a scan to the template."""

from __future__ import annotations

from importlib.metadata import version as installed

from benchmarks.methods import Refused
from benchmarks.pairs import Pair

NEEDS = ('brain_mask',)


def version() -> str:
    return f'antspyx {installed("antspyx")}'


def make(pair: Pair) -> None:
    from cpmae_bids.exceptions import InputError
    from cpmae_bids.steps.register import register

    try:
        register(pair.output, pair.brain_mask, pair.affine)
    except InputError as error:
        raise Refused(str(error)) from error
