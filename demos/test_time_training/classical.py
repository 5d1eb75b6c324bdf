"""Classical methods that networks are held against, in the same program."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from tqdm import tqdm

from deepreg_meta.evaluate.metric import dsc, jacobian_determinant
from deepreg_meta.study.rows import endpoint_errors, has_truth

Reader = Callable[[Path], NDArray]
DEMONS, SYN = "demons (SimpleITK)", "SyN (antspyx)"
# of frames of echo, as rivals.py chooses them
ECHO_DEMONS, ECHO_SYN = "demons, sigma 3 (SimpleITK)", "SyN, radius 4 (antspyx)"
ITERATIONS = {4: 100, 2: 100, 1: 50}  # by the factor that sides are divided by


@dataclass(frozen=True)
class Source:
    """
    How the files of test pairs are read.

    :param image: gives a volume in [0, 1], (d1, d2, d3).
    :param label: gives a label map on the same grid, integers.
    :param labels: values of the structures by name.
    :param ending: of the names of the files.
    :param restore: brings a field to the sides of a file again, where `image` pads or
        cuts; None where it does not.
    """

    image: Reader
    label: Reader
    labels: Mapping[str, int]
    ending: str = ".nii.gz"
    restore: Callable[[NDArray, tuple[int, ...]], NDArray] | None = None


def demons(
    moving: NDArray, fixed: NDArray, sigma_vox: float = 1.5, matched: bool = True
) -> NDArray[np.float64]:
    """
    Register by fast symmetric-force demons on three levels.

    :param moving: (d1, d2, d3), or (d1, d2, 1).
    :param fixed: same shape.
    :param sigma_vox: by which the displacements are smoothed after every update.
    :param matched: the histograms first.
    :return: displacements of the fixed grid, (d1, d2, d3, 3), voxels.
    """
    target, source = (
        sitk.GetImageFromArray(_squeezed(volume).T) for volume in (fixed, moving)
    )
    if matched:
        source = sitk.HistogramMatching(source, target, 256, 7, True)
    run = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    run.SetStandardDeviations(sigma_vox)
    run.SetMaximumUpdateStepLength(2.0)
    field = None
    for factor, iterations in ITERATIONS.items():
        images = [_shrunk(image, factor) for image in (target, source)]
        run.SetNumberOfIterations(iterations)
        if field is None:
            field = run.Execute(*images)
        else:
            identity = sitk.Transform(target.GetDimension(), sitk.sitkIdentity)
            field = sitk.Resample(field, images[0], identity, sitk.sitkLinear, 0.0)
            field = run.Execute(*images, field)
    found = np.moveaxis(sitk.GetArrayFromImage(field).T, 0, -1)
    return _with_depth(found, fixed.shape)


def _squeezed(volume: NDArray) -> NDArray:
    """Take a volume of one slice for an image of two axes."""
    return volume[:, :, 0] if volume.shape[2] == 1 else volume


def _with_depth(ddf: NDArray, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Bring a field of two axes to (d1, d2, 1, 3)."""
    found = np.zeros((*shape, 3))
    found[..., : ddf.shape[-1]] = ddf.reshape(*shape, ddf.shape[-1])
    return found


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    """Smooth and subsample."""
    if factor == 1:
        return image
    smooth = sitk.SmoothingRecursiveGaussian(image, factor / 2)
    return sitk.Shrink(smooth, [factor] * image.GetDimension())


def syn(
    moving: NDArray, fixed: NDArray, radius: int = 2, flow_sigma: float = 3.0
) -> NDArray[np.float64]:
    """
    Register by ANTs SyN with local cross-correlation; the default is that of the list.

    :param moving: as of `demons`.
    :param fixed: as of `demons`.
    :param radius: of the windows of the correlation, voxels.
    :param flow_sigma: by which updates are smoothed, voxels.
    :return: as of `demons`.
    :raises ImportError: without the package antspyx.
    """
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    import ants

    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            ants.from_numpy(_squeezed(fixed).astype(np.float32)),
            ants.from_numpy(_squeezed(moving).astype(np.float32)),
            type_of_transform="SyNOnly",
            initial_transform="Identity",
            outprefix=f"{folder}/",
            syn_metric="CC",
            syn_sampling=radius,
            reg_iterations=(100, 70, 20),
            grad_step=0.2,
            flow_sigma=flow_sigma,
            random_seed=1,
        )
        warps = [path for path in found["fwdtransforms"] if path.endswith(".nii.gz")]
        return _with_depth(np.asarray(nib.load(warps[0]).dataobj), fixed.shape)


Method = Callable[[NDArray, NDArray], NDArray]
METHODS: dict[str, Method] = {
    DEMONS: demons,
    ECHO_DEMONS: partial(demons, sigma_vox=3.0, matched=False),
    SYN: syn,
    ECHO_SYN: partial(syn, radius=4, flow_sigma=5.0),
}


def classical_rows(
    method: str, folder: Path, source: Source, run: Method | None = None
) -> pd.DataFrame:
    """
    Register the pairs of a test set with one thread.

    :param method: name, in the rows; of `METHODS` where `run` is None.
    :param folder: with moving_images, fixed_images and their labels; where it has the
        truth too, endpoint errors are measured.
    :param source: how they are read.
    :param run: what gives the field of two volumes.
    :return: rows as of a study's methods: Dice, determinants, CPU seconds.
    """
    run = run or METHODS[method]
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    rows = []
    try:
        paths = sorted((folder / "fixed_images").glob(f"*{source.ending}"))
        for path in tqdm(paths, method):
            name = path.name
            fixed = source.image(path)
            moving = source.image(folder / "moving_images" / name)
            begin = time.process_time()
            ddf = run(moving, fixed)
            seconds = time.process_time() - begin
            moved = source.label(folder / "moving_labels" / name)
            truth = source.label(folder / "fixed_labels" / name)
            own = ddf  # on the voxels of the file, as the fields of networks are judged
            if source.restore is not None:
                own = source.restore(ddf, nib.load(path).shape)
            determinant = jacobian_determinant(own)
            case = name.removesuffix(source.ending)
            errors = endpoint_errors(own, folder, case) if has_truth(folder) else {}
            rows.append(
                {
                    "case": case,
                    **score_rows(moved, truth, ddf, source.labels),
                    **errors,
                    "positive": 100.0 * float((determinant > 0).mean()),
                    "jacobian_min": float(determinant.min()),
                    "cpu_seconds": seconds,
                }
            )
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return pd.DataFrame(rows).assign(method=method, adaptation="", seed=0)


def score_rows(
    moving: NDArray, fixed: NDArray, ddf: NDArray, labels: Mapping[str, int]
) -> dict[str, float]:
    """
    Score a field as the rows of a study score those of networks.

    :param moving: label map, (d1, d2, d3), integers.
    :param fixed: same shape.
    :param ddf: (d1, d2, d3, 3), voxels.
    :param labels: values of the structures by name.
    :return: `dice`, of structures warped linearly and cut at a half, `dice_nearest`, of
        the map warped to the nearest voxel's value, and both by structure.
    """
    row = {}
    for name, order in (("dice", 1), ("dice_nearest", 0)):
        scores = dice_of_warped(moving, fixed, ddf, labels, order)
        row[name] = float(np.mean(list(scores.values())))
        row |= {f"{name}_{label}": value for label, value in scores.items()}
    return row


def dice_of_warped(
    moving: NDArray,
    fixed: NDArray,
    ddf: NDArray,
    labels: Mapping[str, int],
    order: int = 1,
) -> dict[str, float]:
    """
    Warp a label map, each structure by itself, and measure its overlap.

    :param moving: (d1, d2, d3), integers.
    :param fixed: same shape.
    :param ddf: (d1, d2, d3, 3), voxels.
    :param labels: values of the structures by name.
    :param order: 1 is linear, 0 the nearest voxel.
    :return: Dice by structure; a voxel is in it from a half on, as in `labels.csv`.
    """
    places = np.moveaxis(ddf, -1, 0) + np.indices(fixed.shape)
    found = {}
    for name, index in labels.items():
        mask = (moving == index).astype(np.float64)
        warped = map_coordinates(mask, places, order=order)
        found[name] = dsc(fixed == index, warped)
    return found
