"""Images in the formats of ITK, 3D Slicer and PLUS: MetaImage and NRRD."""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from deepreg_meta.geometry.affine import FLIP
from deepreg_meta.geometry.whole_file import suffix_of

SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")


def is_itk_image(path: str | Path) -> bool:
    """
    Tell whether ITK reads a file, which nibabel does not, by its name.

    :param path: of the file.
    """
    return suffix_of(path) in SUFFIXES


def read_itk_image(path: str | Path) -> nib.spatialimages.SpatialImage:
    """
    Read an image as nibabel would, were the format one of its own.

    :param path: of the file.
    :return: voxels (d1, d2[, d3[, time]]), those with channels (d1, d2, d3[, time],
        channels), where d3 is 1 for two dimensions, and affine, RAS mm.
    :raises ValueError: when ITK cannot read it, with the reason as far as ITK knows it.
    """
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as err:
        reason = str(err).strip().splitlines()[-1].strip()
        if reason.startswith("Reason:"):  # of MetaImage, the last error of the system
            reason = "it is damaged, or its file of voxels is not there"
        raise ValueError(reason) from err
    voxels, dimension = sitk.GetArrayFromImage(image), image.GetDimension()
    axes = (*range(dimension)[::-1], *range(dimension, voxels.ndim))  # it has z first
    voxels = voxels.transpose(axes)
    if voxels.ndim > dimension == 2:
        voxels = voxels[:, :, None]  # or its channels would pass for slices
    return nib.spatialimages.SpatialImage(voxels, image_affine(image))


def image_affine(image: sitk.Image) -> NDArray[np.float64]:
    """
    Return where the voxels of an ITK image lie.

    :param image: of two dimensions, which lies in the plane z = 0, of three, or of
        three and time.
    :return: (4, 4), voxel indices to RAS mm.
    """
    dimension = image.GetDimension()
    axes, to_lps = slice(min(dimension, 3)), np.eye(4)
    direction = np.reshape(image.GetDirection(), (dimension, dimension))
    to_lps[axes, axes] = (direction * image.GetSpacing())[axes, axes]
    to_lps[axes, 3] = image.GetOrigin()[axes]
    return np.diag([*FLIP, 1.0]) @ to_lps
