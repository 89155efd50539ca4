"""One module per method: what it makes of a scan, and the version that made it."""
