"""What the methods make of a scan, a module each.

A module has ``make(pair)``, which writes ``pair.output`` or raises `Refused`, and ``version()``. What it
needs beside the scan is in ``NEEDS``: `brain_mask` and `alignment`, which are steps of the same form. They
find masks and affine of ``pair.output`` itself, and their cost is added to that of the methods in need.
"""

from __future__ import annotations

import importlib
from types import ModuleType

_MODULES = {
    'cpmae-256': 'cpmae',
    'cpmae-128': 'cpmae',
    'own-grid': 'own',
    'own-air': 'own',
    'own-codes': 'own',
    'own-detail': 'own',
}


class Refused(Exception):  # noqa: N818 - it is no error: the method says that it cannot do this scan
    """The method gives no output for this scan, and says why."""


def load(method: str) -> ModuleType:
    """Module of a method or step."""
    return importlib.import_module(f'{__name__}.{_MODULES.get(method, method)}')
