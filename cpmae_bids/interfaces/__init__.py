"""Thin nipype interfaces, one per step; the work is done in `cpmae_bids.steps`, `bids` and `reports`."""

import os

# Nipype asks a server for its latest version when the first interface is made; nothing here opens a socket.
os.environ.setdefault('NO_ET', '1')
os.environ.setdefault('NIPYPE_NO_ET', '1')
