"""
Embedded data: seeded phantoms of prostate MR and transrectal ultrasound (TRUS) pairs.

The anatomy is a set of implicit surfaces in one relaxed frame. MR shows that frame
after a rigid motion; TRUS shows it pushed and widened by the probe and by a smooth
random flow. Both images and both labels are evaluated from the same surfaces, so no
volume is ever resampled and the true map is known. Lengths inside this package are
voxels of the default grid times `grid_scale`, which keeps small grids alike.

Axes: 0 anterior to posterior (the rectum and the probe at its high end), 1 left to
right, 2 inferior (apex) to superior (base, bladder).

`q` names positions in the relaxed frame, `x` fixed voxels and `y` moving voxels, each
an array (..., 3). The way through the modules: anatomy, deformation and placement (the
map), view, landmark and grey (what is at a point), mr and ultrasound (the images), case
(one pair), write (data sets).
"""

from deepreg_meta.dataset.phantom.case import (
    GENERATOR_VERSION,
    PhantomCase,
    make_case,
)
from deepreg_meta.dataset.phantom.deformation import jacobian_det
from deepreg_meta.dataset.phantom.grid import FIXED_SHAPE, MOVING_SHAPE, SPACING_MM
from deepreg_meta.dataset.phantom.write import (
    default_phantom_dir,
    write_dataset,
    write_unpaired_dataset,
)

__all__ = [
    "FIXED_SHAPE",
    "GENERATOR_VERSION",
    "MOVING_SHAPE",
    "SPACING_MM",
    "PhantomCase",
    "default_phantom_dir",
    "jacobian_det",
    "make_case",
    "write_dataset",
    "write_unpaired_dataset",
]
