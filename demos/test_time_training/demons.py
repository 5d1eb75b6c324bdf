"""Demons, the classical method that networks are held against, in the same program."""

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk
from demo_data import pad_or_cut, read_scaled
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from tqdm import tqdm

from deepreg_meta.evaluate.metric import dsc, jacobian_determinant

NAME = "demons (SimpleITK)"
LABELS = {"anterior": 1, "posterior": 2}
ITERATIONS = {4: 100, 2: 100, 1: 50}  # by the factor that sides are divided by


def demons(moving: NDArray, fixed: NDArray) -> NDArray[np.float64]:
    """
    Register by fast symmetric-force demons on three levels, intensities matched.

    :param moving: (d1, d2, d3).
    :param fixed: same shape.
    :return: displacements of the fixed grid, (d1, d2, d3, 3), voxels.
    """
    target = sitk.GetImageFromArray(fixed.transpose(2, 1, 0))
    source = sitk.GetImageFromArray(moving.transpose(2, 1, 0))
    source = sitk.HistogramMatching(source, target, 256, 7, True)
    run = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    run.SetStandardDeviations(1.5)
    run.SetMaximumUpdateStepLength(2.0)
    field = None
    for factor, iterations in ITERATIONS.items():
        images = [_shrunk(image, factor) for image in (target, source)]
        run.SetNumberOfIterations(iterations)
        if field is None:
            field = run.Execute(*images)
        else:
            identity = sitk.Transform()
            field = sitk.Resample(field, images[0], identity, sitk.sitkLinear, 0.0)
            field = run.Execute(*images, field)
    return sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3)


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    """Smooth and subsample."""
    if factor == 1:
        return image
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, factor / 2), [factor] * 3)


def demons_rows(folder: Path) -> pd.DataFrame:
    """
    Register the pairs of a test set with one thread.

    :param folder: with moving_images, fixed_images and their labels.
    :return: rows as of a study's methods: Dice, determinants, CPU seconds.
    """
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows = []
    try:
        for path in tqdm(sorted((folder / "fixed_images").glob("*.nii.gz")), NAME):
            name = path.name
            fixed = read_scaled(path)
            moving = read_scaled(folder / "moving_images" / name)
            begin = time.process_time()
            ddf = demons(moving, fixed)
            seconds = time.process_time() - begin
            moved = _read_label(folder / "moving_labels" / name)
            truth = _read_label(folder / "fixed_labels" / name)
            case = name.removesuffix(".nii.gz")
            scores = dice_of_warped(moved, truth, ddf)
            row = {f"dice_{label}": value for label, value in scores.items()}
            determinant = jacobian_determinant(ddf)
            rows.append(
                {
                    "case": case,
                    "dice": float(np.mean(list(scores.values()))),
                    **row,
                    "positive": 100.0 * float((determinant > 0).mean()),
                    "jacobian_min": float(determinant.min()),
                    "cpu_seconds": seconds,
                }
            )
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return pd.DataFrame(rows).assign(method=NAME, adaptation="", seed=0)


def _read_label(path: Path) -> NDArray:
    """Read a label map, padded or cut as the images are."""
    return pad_or_cut(np.asanyarray(nib.load(path).dataobj))


def dice_of_warped(moving: NDArray, fixed: NDArray, ddf: NDArray) -> dict[str, float]:
    """
    Warp a label map, each structure by itself and linearly, and measure its overlap.

    :param moving: (d1, d2, d3), integers.
    :param fixed: same shape.
    :param ddf: (d1, d2, d3, 3), voxels.
    :return: Dice by structure; a voxel is in it from a half on, as in `labels.csv`.
    """
    places = np.moveaxis(ddf, -1, 0) + np.indices(fixed.shape)
    found = {}
    for name, index in LABELS.items():
        mask = (moving == index).astype(np.float64)
        warped = map_coordinates(mask, places, order=1)
        found[name] = dsc(fixed == index, warped)
    return found
