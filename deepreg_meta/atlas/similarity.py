"""How alike two images on one grid are: what atlases are chosen by."""

from typing import Literal

from numpy.typing import NDArray

from deepreg_meta.evaluate import metric

Measure = Literal["ncc", "nlcc"]
MEASURES: tuple[Measure, ...] = ("ncc", "nlcc")


def similarity(measure: Measure, fixed: NDArray, moving: NDArray) -> float:
    """
    Measure how alike two images are.

    :param measure: ncc, the correlation of all voxels, in [-1, 1]; nlcc, the mean
        squared correlation in windows of 9 voxels, in [0, 1].
    :param fixed: (d1, d2, d3).
    :param moving: the same shape.
    :return: larger for more alike images; nan where one of them is constant.
    :raises ValueError: for another measure.
    """
    if measure == "ncc":
        return metric.ncc(fixed, moving)
    if measure == "nlcc":
        return metric.local_ncc(fixed, moving)
    raise ValueError(
        f"--select: expected one of {', '.join(MEASURES)}, got {measure!r}."
    )
