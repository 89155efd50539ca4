"""Texts that come with the package."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from cpmae_bids._version import __version__


def packaged_text(name: str) -> str:
    """Return a text of the package by its path, such as ``data/citation.md``, with the version filled in."""
    return files('cpmae_bids').joinpath(name).read_text('utf-8').replace('{version}', __version__)


@cache
def packaged_json(name: str) -> Any:
    """Return the content of ``data/<name>.json``, such as ``sharing``; not to be changed."""
    return json.loads(packaged_text(f'data/{name}.json'))
