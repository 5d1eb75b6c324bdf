"""
Measure one registration, in plain NumPy and SciPy.

Every function is pure and knows neither files nor TensorFlow. Fields and points are in
voxels unless their name ends in `_mm`; a function that returns a length takes the
spacing that turns voxels into mm. Where a spacing is nominal, pass (1, 1, 1): the
lengths are then voxels, and whoever prints them has to say so (`unit="voxels"` in
`report.py`).
"""

from deepreg_meta.evaluate.metric.checks import FOREGROUND
from deepreg_meta.evaluate.metric.endpoint import endpoint_errors, endpoint_statistics
from deepreg_meta.evaluate.metric.jacobian import (
    determinant_statistics,
    fold_statistics,
    jacobian_determinant,
    jacobian_determinant_world,
)
from deepreg_meta.evaluate.metric.landmark import (
    centroid,
    point_errors,
    tre_rms,
)
from deepreg_meta.evaluate.metric.overlap import dsc, dsc_masked
from deepreg_meta.evaluate.metric.similarity import local_ncc, mse, ncc
from deepreg_meta.evaluate.metric.surface import asd, hd95, surface_distances

__all__ = [
    "FOREGROUND",
    "asd",
    "centroid",
    "determinant_statistics",
    "dsc",
    "dsc_masked",
    "endpoint_errors",
    "endpoint_statistics",
    "fold_statistics",
    "hd95",
    "jacobian_determinant",
    "jacobian_determinant_world",
    "local_ncc",
    "mse",
    "ncc",
    "point_errors",
    "surface_distances",
    "tre_rms",
]
