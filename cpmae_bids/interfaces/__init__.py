"""Nipype interfaces: `step` runs any step in a process of its own, `bids` publishes what steps wrote."""

import os

# Nipype asks a server for its latest version when the first interface is made; nothing here opens a socket.
os.environ.setdefault('NO_ET', '1')
os.environ.setdefault('NIPYPE_NO_ET', '1')
