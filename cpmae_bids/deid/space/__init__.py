"""Grids, affines and resampling between a scan, the template and another contrast."""
