"""One pair inside the graph, and how mini-batches are drawn of it."""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from deepreg_meta.dataset.gaussian_field import FieldOptions
from deepreg_meta.model.alignment import SectionProfile


class Task(NamedTuple):
    """One pair. Label channels beyond `num_labels` are padding."""

    moving_image: tf.Tensor  # (m_dim1, m_dim2, m_dim3)
    fixed_image: tf.Tensor  # (f_dim1, f_dim2, f_dim3)
    moving_labels: tf.Tensor  # (labels, m_dim1, m_dim2, m_dim3)
    fixed_labels: tf.Tensor  # (labels, f_dim1, f_dim2, f_dim3)
    num_labels: tf.Tensor  # scalar int32, 0 for unlabeled data
    moving_affine: tf.Tensor  # (4, 4), voxel to world in mm
    fixed_affine: tf.Tensor  # (4, 4)
    moving_spacing: tf.Tensor  # (3,), mm
    fixed_spacing: tf.Tensor  # (3,), mm
    # what adaptation looks at, 1 or 0; None is everything
    moving_mask: tf.Tensor | None = None  # (m_dim1, m_dim2, m_dim3)
    fixed_mask: tf.Tensor | None = None  # (f_dim1, f_dim2, f_dim3)
    # (3, 2) float32, the first voxel and one past the last along each axis that losses
    # look at, the others being padding; None is all of them
    fixed_inside: tf.Tensor | None = None


class Constants(NamedTuple):
    """What every mini-batch of one pair shares, computed once."""

    matrix: tf.Tensor  # (3, 3), alignment of the grids alone
    offset: tf.Tensor  # (3,)
    moving_centroid: tf.Tensor  # (1, 3), of the alignment label
    profile: SectionProfile  # of the alignment label, empty unless it aligns
    extent: tf.Tensor  # (1, 2), slices of the fixed gland


@dataclass(frozen=True)
class DrawOptions:
    """How mini-batches are drawn."""

    align: str = "center"  # one of alignment.MODES
    align_label: int = 0  # channel whose centroids are aligned
    frames: tuple[int, int] | None = None  # (F_min, F_max); None shows everything
    frame_axis: int = 0
    reverse: bool = False  # direction of the sweep
    affine_scale: float = 0.0  # strength of the random affine maps; 0 is none
    moving_field: FieldOptions | None = None  # random deformation in training
    fixed_field: FieldOptions | None = None
    batch_size: int = 1  # mini-batch of one inner step
    adapt_labels: tuple[int, ...] = (0,)  # channels that adaptation may see
    stretch: bool = False  # network input as DeepReg's: resized, not aligned
