"""The two networks of VoxelMorph's first paper, with the field at half or full size."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.concat_unet import ConcatUNet
from deepreg_meta.backbone.convolution import interpolate, linear_matrix


@REGISTRY.register_backbone(name="voxelmorph1")
class VoxelMorph1(ConcatUNet):
    """
    VoxelMorph-1 with the field at half size, enlarged linearly: the cheaper network.

    Source: Balakrishnan et al., CVPR 2018, section 3.1 and Fig. 3; the widths, encoder
    16, 32, 32, 32 and decoder 32, 32, 32, 32, 8, 8, the first weights (He normal; head
    normal with deviation 1e-5) and the nearest enlargement are those of the authors'
    published code for it. There the last convolution of 8 channels and the head have
    full size. Here both have half size, because Al Safadi and Song (CVPR 2021, section
    5.3) describe, and time, the VoxelMorph-1 that they compare with so.

    A voxel of the half grid stands for two of the full one, with its centre between
    theirs; the field is interpolated linearly between centres, extrapolated by a
    quarter of a coarse voxel beyond the outer ones, and doubled, being in voxels.
    """

    _FINEST = 1
    _LAST_WIDTHS = (8, 8)

    def __init__(
        self, image_size: tuple, name: str = "voxelmorph1", **kwargs: Any
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3).
        :param name: of the model.
        :param kwargs: further arguments of ConcatUNet.
        """
        super().__init__(image_size=image_size, name=name, **kwargs)
        matrices = [doubling_matrix(length) for length in self.image_size]
        self._interpolate = functools.partial(interpolate, matrices=matrices)
        # along a singleton axis nothing was halved
        self._scale = [1.0 if length == 1 else 2.0 for length in self.image_size]

    def enlarge(self, field: tf.Tensor) -> tf.Tensor:
        """
        Take a field from the half grid to the full one.

        :param field: in voxels of the half grid, shape = (batch, c1, c2, c3, 3).
        :return: in voxels of the full grid, shape = (batch, dim1, dim2, dim3, 3).
        """
        return self._interpolate(field * tf.constant(self._scale, field.dtype))

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: None = None
    ) -> tf.Tensor:
        """
        Predict a field; see ConcatUNet.

        :param inputs: shape = (batch, dim1, dim2, dim3, ch).
        :param training: not used.
        :param mask: not used.
        :return: float32, shape = (batch, dim1, dim2, dim3, 3), in voxels.
        """
        return self.enlarge(super().call(inputs, training=training))


@REGISTRY.register_backbone(name="voxelmorph2")
class VoxelMorph2(ConcatUNet):
    """
    VoxelMorph-2, with the field at full size: the more accurate network.

    Source: Balakrishnan et al., CVPR 2018, section 3.1 and Fig. 3, and TMI 38(8), 2019.
    The widths are those of the authors' published code for it: encoder 16, 32, 32, 32;
    decoder 32 at levels 4, 3, 2 and twice at 1, then 16, 16 at full size beside the
    images themselves. (Later versions of that code have the fifth convolution of 32
    channels at full size.)
    """

    def __init__(
        self, image_size: tuple, name: str = "voxelmorph2", **kwargs: Any
    ) -> None:
        """
        :param image_size: (dim1, dim2, dim3).
        :param name: of the model.
        :param kwargs: further arguments of ConcatUNet.
        """
        super().__init__(image_size=image_size, name=name, **kwargs)


def doubling_matrix(length: int) -> np.ndarray | None:
    """
    Return the weights that interpolate from half a grid, rounded up, to the grid.

    :param length: of the grid, voxels.
    :return: shape = (length, half), None along a singleton axis.
    """
    if length == 1:
        return None
    centres = (np.arange(length) + 0.5) / 2 - 0.5  # in voxels of the half grid
    return linear_matrix(centres, -(-length // 2))
