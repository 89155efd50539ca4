"""RadVeil in its automatic mode, with the settings that its README gives for methods sections."""

from __future__ import annotations

from importlib.metadata import version as installed

from benchmarks.methods import Refused
from benchmarks.pairs import Pair

SETTINGS = {'region': 'face+ears', 'mode': 'adaptive'}


def version() -> str:
    return f'radveil {installed("radveil")}'


def make(pair: Pair) -> None:
    import radveil

    try:
        radveil.deface_auto(str(pair.original), str(pair.output), **SETTINGS)
    except RuntimeError as error:  # documented: no view yields a validated face
        pair.output.unlink(missing_ok=True)
        raise Refused(str(error)) from error
