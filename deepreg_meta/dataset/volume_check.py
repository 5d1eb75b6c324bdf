"""
What is wrong with the contents of one volume's files, in words for the user.
"""

from collections.abc import Mapping, Sequence

import numpy as np

MAX_LINES = 20
# by which soft labels may lie beyond [0, 1]: a slope of 1 / 255 in a header is rounded
ROUNDING = 1e-5


class DataError(ValueError):
    """
    What is wrong with the files of a data set: a heading and a line for each problem.

    :param heading: what the problems are about.
    :param problems: lines; beyond the first `MAX_LINES` they are only counted.
    """

    def __init__(self, heading: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = [heading, *self.problems[:MAX_LINES]]
        if len(self.problems) > MAX_LINES:
            lines.append(f"... and {len(self.problems) - MAX_LINES} more problems.")
        super().__init__("\n".join(lines))


def check_image(image: np.ndarray, path: str) -> list[str]:
    """
    Check the voxels of an image.

    :param image: voxels as stored; a file of two axes has got a third one.
    :param path: name of the file, for the messages.
    :return: one line per problem.
    """
    if image.ndim != 3 or not image.size:
        got = f"got {image.ndim}-D of shape {image.shape}"
        return [f"{path}: expected a 3-D image, {got}. Save one volume per file."]
    num_bad = image.size - np.isfinite(image).sum()
    if num_bad:
        return [
            f"{path}: expected finite intensities, got {num_bad} voxels that are "
            "NaN or infinite."
        ]
    return check_contrast(image, path)


def check_num_axes(
    image: np.ndarray, path: str, wanted: tuple[int, ...], has_two_axes: bool
) -> list[str]:
    """
    Check that a 2-D image is for a 2-D network, and a volume for one of volumes.

    A network of volumes would stretch a file of two axes, and one of images would see a
    single slice of a volume.

    :param image: voxels, (d1, d2, d3).
    :param path: name of the file, for the message.
    :param wanted: shape of the network's grid.
    :param has_two_axes: whether the file has; otherwise a single slice is a volume.
    :return: one line where it is not.
    """
    if image.ndim != 3:
        return []
    if 1 in wanted:
        if 1 in image.shape:
            return []
        return [
            f"{path}: expected a 2-D image, got 3-D of shape {image.shape}, for the "
            f"network's shape {list(wanted)}. Of volumes it has three sides."
        ]
    if not has_two_axes:
        return []
    return [
        f"{path}: expected a 3-D image, got 2-D of shape {image.shape[:2]}, for the "
        f"network's shape {list(wanted)}. That of 2-D images has two sides, or a last "
        "side of 1."
    ]


def check_contrast(image: np.ndarray, path: str, when: str = "") -> list[str]:
    """
    Check that an image shows anything.

    :param image: finite voxels.
    :param path: name of the file, for the messages.
    :param when: words that tell what was done to the image before, or nothing.
    :return: one line where it is constant.
    """
    if image.min() != image.max():
        return []
    rule = f"an image with contrast {when}".rstrip()
    return [f"{path}: expected {rule}, got the constant {image.min():g}."]


def check_label(
    label: np.ndarray,
    image_shape: tuple[int, ...],
    indices: Mapping[str, int] | None,
    path: str,
    is_structure: bool = False,
) -> list[str]:
    """
    Check the voxels of a label.

    :param label: voxels as stored.
    :param image_shape: shape of its image.
    :param indices: name and integer of each label where the file is an index map; None
        where it holds channels in [0, 1].
    :param path: name of the file, for the messages.
    :param is_structure: whether the file is one of several, each of one structure.
    :return: one line per problem.
    """
    if label.ndim != 3 and (label.ndim != 4 or indices is not None):
        what = "a 3-D label or a 4-D one with channels last"
        if indices is not None:
            what = "a 3-D index map, because dataset.labels is given"
        return [f"{path}: expected {what}, got shape {label.shape}."]
    problems = []
    if len(image_shape) == 3 and label.shape[:3] != image_shape:
        problems.append(
            f"{path}: expected the grid of its image, {image_shape}, got "
            f"{label.shape[:3]}."
        )
    wrong = _check_values(label, indices, is_structure)
    return problems + [f"{path}: {text}" for text in wrong]


def check_channels(labels: np.ndarray, names: Sequence[str], path: str) -> list[str]:
    """
    Check that no label channel is empty.

    :param labels: (L, d1, d2, d3), on the network's grid, where a structure of a few
        voxels may have been lost in resizing.
    :param names: L names.
    :param path: name of the file, for the messages.
    :return: one line per empty channel.
    """
    return [
        f"{path}: expected voxels in every label channel, got none in channel "
        f"{channel} ({name}) on the grid {labels.shape[1:]}."
        for channel, name in enumerate(names)
        if not labels[channel].any()
    ]


def _check_values(
    label: np.ndarray, indices: Mapping[str, int] | None, is_structure: bool
) -> list[str]:
    """Return what is wrong with the values of a label."""
    if not np.isfinite(label).all():
        return ["expected finite label values, got NaN or infinite ones."]
    if indices is None:
        if label.min() >= -ROUNDING and label.max() <= 1 + ROUNDING:
            return []
        rule = "expected values in [0, 1]"
        wrong = np.unique(label)
        example = f"dataset.labels: {{gland: {np.abs(wrong).max():g}}}"
        fix = f"Declare the integers of an index map, as in `{example}`."
        if (wrong % 1).any():
            wrong = wrong[[0, -1]]  # of as many as there are voxels
            fix = "Clip a soft label, which other interpolations overshoot."
        elif is_structure:
            fix = f"Of several files each is one structure: divide by {wrong.max():g}."
    else:
        wrong = np.setdiff1d(label, [0, *indices.values()])
        if not wrong.size:
            return []
        rule = f"expected 0 or an integer of dataset.labels {dict(indices)}"
        fix = "Declare it there, or remove it from the file."
    shown = ", ".join(f"{value:g}" for value in wrong[:8])
    more = ", ..." if wrong.size > 8 else ""
    return [f"{rule}, got {shown}{more}. {fix}"]
