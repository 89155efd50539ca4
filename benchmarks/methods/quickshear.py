"""Quickshear with its default buffer; the brain mask that it asks for is deepbet's."""

from __future__ import annotations

from importlib.metadata import version as installed

from benchmarks.pairs import Pair

NEEDS = ('brain_mask',)


def version() -> str:
    return f'quickshear {installed("quickshear")}'


def make(pair: Pair) -> None:
    import nibabel as nib
    from quickshear import quickshear

    quickshear(nib.load(pair.original), nib.load(pair.brain_mask)).to_filename(pair.output)
