"""Classical methods that networks are held against, in the same program."""

import os
import tempfile
import time
from collections.abc import Callable
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

DEMONS, SYN = "demons (SimpleITK)", "SyN (antspyx)"
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


def syn(moving: NDArray, fixed: NDArray) -> NDArray[np.float64]:
    """
    Register by ANTs SyN with local cross-correlation, of the settings of the list.

    :param moving: as of `demons`.
    :param fixed: as of `demons`.
    :return: as of `demons`.
    :raises ImportError: without the package antspyx.
    """
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    import ants

    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            ants.from_numpy(fixed.astype(np.float32)),
            ants.from_numpy(moving.astype(np.float32)),
            type_of_transform="SyNOnly",
            initial_transform="Identity",
            outprefix=f"{folder}/",
            syn_metric="CC",
            syn_sampling=2,
            reg_iterations=(100, 70, 20),
            grad_step=0.2,
            flow_sigma=3,
            random_seed=1,
        )
        warps = [path for path in found["fwdtransforms"] if path.endswith(".nii.gz")]
        return np.asarray(nib.load(warps[0]).get_fdata()).squeeze()


METHODS: dict[str, Callable[[NDArray, NDArray], NDArray]] = {DEMONS: demons, SYN: syn}


def classical_rows(method: str, folder: Path) -> pd.DataFrame:
    """
    Register the pairs of a test set with one thread.

    :param method: of `METHODS`.
    :param folder: with moving_images, fixed_images and their labels.
    :return: rows as of a study's methods: Dice, determinants, CPU seconds.
    """
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows = []
    try:
        for path in tqdm(sorted((folder / "fixed_images").glob("*.nii.gz")), method):
            name = path.name
            fixed = read_scaled(path)
            moving = read_scaled(folder / "moving_images" / name)
            begin = time.process_time()
            ddf = METHODS[method](moving, fixed)
            seconds = time.process_time() - begin
            moved = _read_label(folder / "moving_labels" / name)
            truth = _read_label(folder / "fixed_labels" / name)
            determinant = jacobian_determinant(ddf)
            rows.append(
                {
                    "case": name.removesuffix(".nii.gz"),
                    **score_rows(moved, truth, ddf),
                    "positive": 100.0 * float((determinant > 0).mean()),
                    "jacobian_min": float(determinant.min()),
                    "cpu_seconds": seconds,
                }
            )
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return pd.DataFrame(rows).assign(method=method, adaptation="", seed=0)


def _read_label(path: Path) -> NDArray:
    """Read a label map, padded or cut as the images are."""
    return pad_or_cut(np.asanyarray(nib.load(path).dataobj))


def score_rows(moving: NDArray, fixed: NDArray, ddf: NDArray) -> dict[str, float]:
    """
    Score a field as the rows of a study score those of networks.

    :param moving: label map, (d1, d2, d3), integers.
    :param fixed: same shape.
    :param ddf: (d1, d2, d3, 3), voxels.
    :return: `dice`, of structures warped linearly and cut at a half, `dice_nearest`, of
        the map warped to the nearest voxel's value, and both by structure.
    """
    row = {}
    for name, order in (("dice", 1), ("dice_nearest", 0)):
        scores = dice_of_warped(moving, fixed, ddf, order)
        row[name] = float(np.mean(list(scores.values())))
        row |= {f"{name}_{label}": value for label, value in scores.items()}
    return row


def dice_of_warped(
    moving: NDArray, fixed: NDArray, ddf: NDArray, order: int = 1
) -> dict[str, float]:
    """
    Warp a label map, each structure by itself, and measure its overlap.

    :param moving: (d1, d2, d3), integers.
    :param fixed: same shape.
    :param ddf: (d1, d2, d3, 3), voxels.
    :param order: 1 is linear, 0 the nearest voxel.
    :return: Dice by structure; a voxel is in it from a half on, as in `labels.csv`.
    """
    places = np.moveaxis(ddf, -1, 0) + np.indices(fixed.shape)
    found = {}
    for name, index in LABELS.items():
        mask = (moving == index).astype(np.float64)
        warped = map_coordinates(mask, places, order=order)
        found[name] = dsc(fixed == index, warped)
    return found
