"""
Intensities of a volume, on its file's voxels: the steps of `dataset.intensity`, and the
range that the network wants.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from deepreg_meta.config.preprocessing import IntensityStep
from deepreg_meta.geometry.volume_file import read_volume

_BINS = 256  # of histograms
_MATCH_POINTS = 64  # quantiles that histogram matching brings together


class Intensity:
    """
    The steps for one kind of image.

    Example::

        steps = (IntensityStep(name="clip", percentiles=(1, 99)),)
        intensity = Intensity(steps)
        image = intensity.scale(intensity.transform(voxels))  # in [0, 1]

    :param steps: of `dataset.intensity`, in order.
    :param files: voxels of the volumes that steps refer to, by path.
    """

    def __init__(
        self,
        steps: Sequence[IntensityStep] = (),
        files: Mapping[str, NDArray] | None = None,
    ) -> None:
        self._steps, self._files = tuple(steps), dict(files or {})

    @property
    def needs_pair(self) -> bool:
        """Whether a step needs the fixed image of the pair."""
        return any(step.is_matched_to_pair for step in self._steps)

    def transform(self, image: NDArray, fixed: NDArray | None = None) -> NDArray:
        """
        Apply the steps alone.

        :param image: any shape, float32, finite.
        :param fixed: the fixed image of the pair after its own steps, where
            `needs_pair`.
        :return: the shape of `image`, float32.
        """
        for step in self._steps:
            if step.name == "clip":
                image = _clip(image, step)
            elif step.name == "z_score":
                image = z_score(image)
            elif step.name == "equalize":
                image = equalize(image)
            else:
                wanted = fixed if step.file is None else self._files[step.file]
                if wanted is None:
                    raise RuntimeError("match: the fixed image of the pair is missing.")
                image = match(image, wanted)
        return image

    def scale(self, image: NDArray) -> NDArray:
        """
        Bring what the steps gave to [0, 1], as DeepReg's loader does; z-scores, where
        they are the last step, stay as they are, and a range that the last step clips
        to is taken whole, the same window for all images.

        :param image: any shape, float32.
        :return: the shape of `image`, float32; not an array of the caller's.
        """
        last = self._steps[-1] if self._steps else None
        if last is not None and last.name == "z_score":
            return image
        if last is not None and last.range is not None:
            low, high = last.range
            return (image - np.float32(low)) / np.float32(high - low)
        return scale_to_unit(image)


def scale_to_unit(image: NDArray) -> NDArray:
    """
    Bring intensities to [0, 1].

    :param image: any shape, finite.
    :return: the same shape and type; zeros where the image is constant.
    """
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else image * 0


def _clip(image: NDArray, step: IntensityStep) -> NDArray:
    """Move values beyond the limits of a step to them."""
    if step.percentiles is not None:
        low, high = np.percentile(image, step.percentiles)
    elif step.sigmas is not None:
        mean, deviation = _moments(image)
        low, high = mean - step.sigmas * deviation, mean + step.sigmas * deviation
    elif step.range is not None:
        low, high = step.range
    else:
        raise RuntimeError("A step clip without limits was read before it was checked.")
    return np.clip(image, np.float32(low), np.float32(high))


def z_score(image: NDArray) -> NDArray:
    """
    Give an image the mean 0 and the standard deviation 1.

    :param image: any shape.
    :return: the same shape, float32; zeros where the image is constant.
    """
    mean, deviation = _moments(image)
    return ((image - mean) / (deviation or 1.0)).astype(np.float32)


def equalize(image: NDArray) -> NDArray:
    """
    Equalise the histogram: a value becomes the share of voxels not above it.

    As scikit-image's `equalize_hist`: 256 bins, linear between their centres.

    :param image: any shape.
    :return: the same shape, float32, in [0, 1].
    """
    counts, edges = np.histogram(image, bins=_BINS)
    share = np.cumsum(counts) / image.size
    centres = (edges[:-1] + edges[1:]) / 2
    return np.interp(image, centres, share).astype(np.float32)


def match(image: NDArray, wanted: NDArray) -> NDArray:
    """
    Match the histogram of an image to another one's, by SimpleITK.HistogramMatching:
    64 quantiles above the mean, which leaves a dark background out.

    :param image: (d1, d2, d3).
    :param wanted: (e1, e2, e3).
    :return: (d1, d2, d3), float32.
    """
    first, second = (
        sitk.GetImageFromArray(np.ascontiguousarray(x, np.float32))
        for x in (image, wanted)
    )
    result = sitk.HistogramMatching(
        first,
        second,
        numberOfHistogramLevels=_BINS,
        numberOfMatchPoints=_MATCH_POINTS,
        thresholdAtMeanIntensity=True,
    )
    return sitk.GetArrayFromImage(result)


def read_reference(path: str) -> NDArray:
    """
    Read a volume that images are matched to.

    :param path: of a file that `read_volume` reads.
    :return: (d1, d2, d3), float32.
    :raises ValueError: when it cannot be read, is no volume, or has no contrast.
    :raises FileNotFoundError: when there is no such file.
    """
    voxels = np.asarray(read_volume(path).voxels, np.float32)
    if voxels.ndim != 3 or not np.isfinite(voxels).all() or np.ptp(voxels) == 0:
        raise ValueError(
            f"{path}: expected one volume with finite intensities and contrast, got "
            f"shape {voxels.shape} and values from {voxels.min():g} to "
            f"{voxels.max():g}."
        )
    return voxels


def _moments(image: NDArray) -> tuple[float, float]:
    """Return mean and standard deviation, summed in float64."""
    return float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64))
