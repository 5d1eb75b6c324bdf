"""Phantom cases as NIfTI files in DeepReg's layouts."""

from pathlib import Path

import nibabel as nib
import numpy as np

from deepreg_meta.dataset.phantom.case import PhantomCase


def save_pair(folder: Path, name: str, case: PhantomCase) -> None:
    """
    Save both images and all labels of a case, channels last.

    :param folder: of a split; moving_images and so on are made in it.
    :param name: of the four files.
    """
    for kind in ("moving", "fixed"):
        image, labels = getattr(case, f"{kind}_image"), getattr(case, f"{kind}_labels")
        _save(folder / f"{kind}_images" / name, image, case.spacing_mm)
        channels_last = np.ascontiguousarray(np.moveaxis(labels, 0, -1))
        _save(folder / f"{kind}_labels" / name, channels_last, case.spacing_mm)


def save_single(folder: Path, name: str, case: PhantomCase) -> None:
    """
    Save the fixed image of a case and its gland.

    :param folder: of a split; images and labels are made in it.
    :param name: of the two files.
    """
    _save(folder / "images" / name, case.fixed_image, case.spacing_mm)
    # landmarks of different subjects do not correspond, so only the gland is kept
    _save(folder / "labels" / name, case.fixed_labels[0], case.spacing_mm)


def _save(path: Path, array: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
    """Save an image (d1, d2, d3) or labels (d1, d2, d3, L) as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, _affine(array.shape[:3], spacing_mm))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _affine(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> np.ndarray:
    """
    Give the voxel-to-world matrix (RAS+, mm) of a grid centred at the world's origin.

    Axis 0 points to posterior, axis 1 to the right, axis 2 to superior: "PRS".
    """
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1], affine[2, 2] = np.multiply(spacing_mm, [-1, 1, 1])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine
