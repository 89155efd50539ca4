"""The version, and where the code is, in one place."""

__version__ = '0.1.0'
__url__ = 'https://github.com/cpmae-bids/cpmae-bids'
