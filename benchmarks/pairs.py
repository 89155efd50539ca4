"""What a measure is given: a scan, what a method made of it, and where its brain is.

A measure is a module ``benchmarks/measures/<name>.py`` with

``measure(pair) -> dict``
    Numbers, truth values or None of one scan and method. They are kept as JSON, so that a run resumes.
``pool(values, out) -> dict``, optional
    What takes several scans: ``values[method][scan]`` is what `measure` returned, and ``out`` the folder of
    the run; `work_folder` finds what `measure` left under ``pair.work``. Gives ``{method: {key: number}}``,
    where ``[value, low, high]`` in place of a number brings its interval along.
``METHODS``, optional
    The methods it is run on, `DEFAULT` otherwise.
``SCANS``, optional
    It is run on at most so many scans, evenly spaced in their order.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

OWN = ('cpmae-256', 'cpmae-128')
"""This tool, at both presets."""

PEERS = ('radveil', 'quickshear', 'pydeface', 'skullstrip', 'meanhead', 'nearesthead')

CONTROLS = ('own-grid', 'own-air', 'own-codes', 'own-detail')
"""The scan's own head on ever more of the way of a generated one: see `benchmarks.methods.own`."""

DEFAULT = ('original', *OWN, *PEERS, *CONTROLS)

RESCAN = 'rescan'
"""Another scan of the person on the grid of this one: what no method can be asked to stay below."""

DOWNSTREAM = (*DEFAULT, RESCAN)
"""Methods of the measures that compare what tools make of two images."""

PERTURBED = 'perturbed'
"""The original turned, scaled and noised: an attack that does not know it again proves nothing."""

GALLERY = 'gallery'
"""Heads that are in no test but among which an attacker looks for those that are; their own output."""


@dataclass(frozen=True)
class Pair:
    """A scan and what a method made of it.

    Attributes
    ----------
    scan : str
        Name of the scan, such as ``sub-01_T1w``.
    method : str
        One of `DEFAULT`, `RESCAN`, `PERTURBED` and `GALLERY`.
    original, output : Path
        NIfTI on one grid; the same file for the methods ``original`` and ``gallery``.
    brain_mask : Path
        deepbet's mask of the original, uint8 on the same grid, largest component without holes.
    kept_mask : Path
        The brain mask with the guard rim.
    affine : Path
        Text, 4 x 4: world of the scan to world of the template (RAS, mm), from the brain of the original.
    work : Path
        Private scratch folder of this pair.

    Notes
    -----
    `PERTURBED` has moved the head within the grid: masks and affine are then those of the output.
    """

    scan: str
    method: str
    original: Path
    output: Path
    brain_mask: Path
    kept_mask: Path
    affine: Path
    work: Path

    def dump(self) -> str:
        """As one line of JSON, to hand it to another process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def load(cls, text: str) -> Pair:
        """What `dump` wrote."""
        fields = json.loads(text)
        names = {name: fields.pop(name) for name in ('scan', 'method')}
        return cls(**names, **{name: Path(value) for name, value in fields.items()})


def work_folder(out: Path, method: str, scan: str) -> Path:
    """``Pair.work`` of a scan and method in the folder of a run."""
    return out / 'work' / method / scan


def run_folder(pair: Pair) -> Path:
    """The folder of the run that a pair belongs to."""
    return pair.work.parents[2]
