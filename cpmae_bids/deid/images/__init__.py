"""Scans and volumes: NIfTI files by their stored values, masks, intensities, background and noise."""
