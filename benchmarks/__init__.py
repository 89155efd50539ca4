"""Measurements of what the README and the documentation claim; see README.md in this folder."""
