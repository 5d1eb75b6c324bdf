"""Grids neither axis-aligned nor isotropic, and SimpleITK's answers on them."""

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from deepreg_meta.geometry.affine import FLIP
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.transform import Affine, Field
from deepreg_meta.geometry.volume_file import save_volume

FIXED, MOVING = (5, 6, 7), (8, 7, 6)
OUTSIDE = -50.0


def affine(angles_deg, spacing, origin, flip=(1, 1, 1)):
    """:return: (4, 4), voxel to world."""
    matrix = np.eye(4)
    rotation = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, :3] = rotation @ np.diag(np.multiply(spacing, flip))
    matrix[:3, 3] = origin
    return matrix


# grids of the fixed and the moving image
PAIRS = {
    "oblique": (
        Grid(FIXED, affine((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7))),
        Grid(MOVING, affine((-80, 15, 10), (1.1, 0.6, 1.9), (5, -3, 40))),
    ),
    "left-handed": (
        Grid(FIXED, affine((12, -9, 100), (1, 2, 3), (3, 4, 5), (-1, 1, 1))),
        Grid(MOVING, affine((10, 5, 3), (2, 1, 1.5), (-9, 0, 2))),
    ),
    "both left-handed, far away": (
        Grid(
            FIXED, affine((13, 27, -64), (0.4, 0.3, 3), (-212, 130, -907), (1, -1, 1))
        ),
        Grid(MOVING, affine((9, 31, 140), (0.5, 0.7, 2), (305, 1, 80), (-1, -1, -1))),
    ),
    "permuted axes": (
        Grid(FIXED, affine((95, 4, 6), (2.1, 0.9, 1.4), (0, 0, 0))),
        Grid(MOVING, affine((3, -93, 2), (0.8, 1.2, 1.7), (10, 20, 30))),
    ),
}


# grids of images of two axes in the plane z = 0, as ITK has them in two dimensions
PLANES = {
    "pictures": (
        Grid((9, 7, 1), affine((0, 0, 0), (1, 1, 1), (0, 0, 0), (-1, -1, 1))),
        Grid((8, 10, 1), affine((0, 0, 0), (1, 1, 1), (0, 0, 0), (-1, -1, 1))),
    ),
    "turned in the plane": (
        Grid((9, 7, 1), affine((0, 0, 25), (0.8, 1.3, 5), (-12, 30, 0))),
        Grid((8, 10, 1), affine((0, 0, -70), (1.1, 0.6, 2), (5, -3, 0), (1, -1, 1))),
    ),
}


def voxels(shape):
    """:return: (d1, d2, d3, 3)."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)


def alignment(fixed, moving, rng):
    """:return: affine map that leads the fixed grid to the moving and a bit beyond."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([1.8, 1.3, 1.0]) + rng.uniform(-0.1, 0.1, (3, 3))
    matrix[:3, 3] = (np.array(moving.shape) - 1) / 2
    matrix[:3, 3] -= matrix[:3, :3] @ ((np.array(fixed.shape) - 1) / 2)
    return Affine(moving.affine @ matrix @ np.linalg.inv(fixed.affine))


def rough_field(grid, rng, size_vox=0.6, outside="zero"):
    """:return: a field of random vectors, up to a share of a voxel along each axis."""
    vectors = rng.uniform(-size_vox, size_vox, (*grid.shape, 3))
    vectors = vectors @ grid.affine[:3, :3].T
    return Field(grid, vectors.astype(np.float32), outside)


def read_itk(path):
    """:return: the transform that SimpleITK finds in a file."""
    if str(path).endswith(".nii.gz"):
        image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
        return sitk.DisplacementFieldTransform(image)
    return sitk.ReadTransform(str(path))


def map_by_itk(itk, points):
    """:return: RAS points (n, 3), mapped by SimpleITK."""
    return np.array([itk.TransformPoint((FLIP * p).tolist()) for p in points]) * FLIP


def warp_by_itk(image, moving, fixed, itk, interpolation, folder):
    """:return: what SimpleITK makes of the files of an image and a fixed grid."""
    save_volume(folder / "moving.nii.gz", image, moving.affine)
    save_volume(
        folder / "fixed.nii.gz", np.zeros(fixed.shape, np.float32), fixed.affine
    )
    read = [sitk.ReadImage(str(folder / f"{n}.nii.gz")) for n in ("moving", "fixed")]
    kind = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}
    warped = sitk.Resample(*read, itk, kind[interpolation], OUTSIDE)
    return sitk.GetArrayFromImage(warped).transpose(2, 1, 0)


def assert_same_images(ours, itk, scale):
    """Fail unless two images agree at every voxel, and show something."""
    inside = itk[itk != OUTSIDE]
    assert 0.3 * itk.size < inside.size < itk.size and np.ptp(inside) > 0.3 * scale
    difference = np.abs(ours.astype(np.float64) - itk) / scale
    assert difference.mean() < 1e-4
    assert difference.max() < 1e-2


def write_nifti(path, vectors, affine, intent=1007, unit="mm", name=""):
    """Write a NIfTI field as another program would."""
    image = nib.Nifti1Image(vectors, affine)
    image.header.set_xyzt_units(unit)
    image.header["intent_code"] = intent
    image.header["intent_name"] = name.encode()
    nib.save(image, path)
    return path
