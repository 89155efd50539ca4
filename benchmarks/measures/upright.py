"""Can a face recogniser find the person if all heads are turned upright?

An output lies in the scanner as its original did, and a recogniser sees how a head is turned. Here all heads
are rendered in the orientation of the template, by the rotation of the affine that lays their brains on it:
what is left is of faces and fields of view.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.measures.recognition import search
from benchmarks.pairs import DEFAULT, GALLERY, PERTURBED, Pair, work_folder
from benchmarks.recogniser import read_views, views

METHODS = (*DEFAULT, PERTURBED, GALLERY)


def measure(pair: Pair) -> dict[str, float]:
    """``views_with_face``: in how many of five views a face is found."""
    return {'views_with_face': int(views(pair, upright=True).found.sum())}


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """Success of the attack on each method; see `benchmarks.measures.recognition`."""

    def template(method: str, scan: str):
        return read_views(work_folder(out, method, scan), upright=True).template

    return search(values, out, template)
