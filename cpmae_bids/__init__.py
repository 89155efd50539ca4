"""De-identify T1w MRI by a different, generated head around a bit-identical brain."""

from cpmae_bids._version import __version__

__all__ = ['__version__']
