"""Sharing of a dataset: a raw-like copy with refaced scans, an inventory, and an audit of what is left."""
