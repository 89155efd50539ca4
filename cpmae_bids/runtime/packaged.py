"""Texts that come with the package."""

from importlib.resources import files


def packaged_text(name: str) -> str:
    """Return a text of the package, by its path in it, such as ``data/citation.md``."""
    return files('cpmae_bids').joinpath(name).read_text('utf-8')
