"""
Smooth random displacement fields drawn inside the graph, from stateless seeds, and the
augmentation that warps images with them.

The formula is that of `gaussian_field.py`, which says what the parameters mean.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.dataset.gaussian_field import FieldOptions, Shape, voxel_units
from deepreg_meta.layer.warp import warp

SIDES = ("moving", "fixed")
IMAGES = ("both", *SIDES)
_MAX_DRAWS = 20  # a graph cannot refuse: the last field is taken as it is


def mixture_field(
    centers: tf.Tensor,
    widths: tf.Tensor,
    amplitudes: tf.Tensor,
    size: Shape,
    options: FieldOptions,
) -> tf.Tensor:
    """
    Evaluate mixtures of Gaussians at the voxels of a grid, with the energy wanted.

    :param centers: (batch, n, 3), shares of the image's sides, in [0, 1].
    :param widths: (batch, n), standard deviations in reference pixels.
    :param amplitudes: (batch, n, 3), of any common scale.
    :param size: (d1, d2, d3); nothing moves along, or varies across, a singleton axis.
    :param options: energy and unit of length.
    :return: ddf, (batch, d1, d2, d3, 3), in voxels; zero where no Gaussian reaches a
        voxel.
    """
    units = [float(unit) for unit in voxel_units(size, options.reference)]
    profiles = []  # (batch, n, side), one per axis
    for axis, (side, unit) in enumerate(zip(size, units, strict=True)):
        if side == 1:
            profiles.append(tf.ones_like(widths)[..., None])
            continue
        places = (tf.range(side, dtype=tf.float32) + 0.5) / unit
        distance = places - centers[..., axis, None] * (side / unit)
        profiles.append(tf.exp(-0.5 * (distance / widths[..., None]) ** 2))
    planes = profiles[1][..., None] * profiles[2][..., None, :]
    planes = tf.reshape(planes, [-1, centers.shape[1], size[1] * size[2]])
    components, squares = [], []
    for axis, side in enumerate(size):
        if side == 1:
            components.append(tf.zeros([tf.shape(widths)[0], *size]))
            continue
        rows = amplitudes[..., axis, None] * profiles[0]
        product = tf.matmul(rows, planes, transpose_a=True)  # (batch, d1, d2 * d3)
        components.append(tf.reshape(product, [-1, *size]))
        squares.append(tf.reduce_mean(product**2, axis=[1, 2]))
    energy = tf.sqrt(tf.add_n(squares) / len(squares)) if squares else widths[:, 0] * 0
    scale = tf.math.divide_no_nan(options.sigma, energy)[:, None, None, None]
    return tf.stack(
        [u * (scale * unit) for u, unit in zip(components, units, strict=True)], axis=-1
    )


def _draw(
    seed: tf.Tensor, batch: tf.Tensor | int, size: Shape, options: FieldOptions
) -> tf.Tensor:
    """Draw fields as `draw_fields` does, folded or not."""
    seeds = tf.random.experimental.stateless_split(seed, 3)
    number = options.count(size)
    return mixture_field(
        tf.random.stateless_uniform([batch, number, 3], seeds[0]),
        tf.random.stateless_uniform([batch, number], seeds[1], *options.width),
        tf.random.stateless_normal([batch, number, 3], seeds[2]),
        size,
        options,
    )


def draw_fields(
    seed: tf.Tensor, batch: tf.Tensor | int, size: Shape, options: FieldOptions
) -> tf.Tensor:
    """
    Draw displacement fields.

    :param seed: int32, shape = (2,); the same seed gives the same fields.
    :param batch: number of fields.
    :param size: (d1, d2, d3) of the grid.
    :param options: which fields. With `fold_free`, fields that fold are drawn anew, 20
        times at most; where every draw folds, which is the rule with an energy too
        large for the grid, nothing is displaced.
    :return: ddf, (batch, d1, d2, d3, 3), in voxels; the energy of each is
        `options.sigma`, or 0.
    """
    first = _draw(seed, batch, size, options)
    if not options.fold_free:
        return first

    def again(
        index: tf.Tensor, fields: tf.Tensor, folds: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        own = tf.random.experimental.stateless_fold_in(seed, index)
        other = _draw(own, batch, size, options)
        fields = tf.where(folds[:, None, None, None, None], other, fields)
        return index + 1, fields, least_determinant(fields) <= 0.0

    _, fields, folds = tf.while_loop(
        lambda index, _, folds: (index < _MAX_DRAWS) & tf.reduce_any(folds),
        again,
        (tf.constant(1), first, least_determinant(first) <= 0.0),
    )
    return tf.where(folds[:, None, None, None, None], 0.0, fields)


def least_determinant(ddf: tf.Tensor) -> tf.Tensor:
    """
    Return the least Jacobian determinant of x -> x + u(x), as the metric computes it.

    :param ddf: u, (batch, d1, d2, d3, 3), in voxels.
    :return: (batch,); 1 where every axis is a singleton.
    """
    axes = [axis for axis in range(3) if ddf.shape[axis + 1] > 1]
    rows = [
        [
            _difference(ddf[..., component], axis + 1) + float(component == axis)
            for axis in axes
        ]
        for component in axes
    ]
    if not rows:
        return tf.ones_like(ddf[:, 0, 0, 0, 0])
    return tf.reduce_min(_determinant(rows), axis=[1, 2, 3])


def _difference(values: tf.Tensor, axis: int) -> tf.Tensor:
    """Return central differences along an axis, one-sided ones at its ends."""
    last = values.shape[axis] - 1

    def cut(start: int, stop: int) -> tf.Tensor:
        return values[(slice(None),) * axis + (slice(start, stop),)]

    inner = 0.5 * (cut(2, last + 1) - cut(0, last - 1))
    ends = cut(1, 2) - cut(0, 1), cut(last, last + 1) - cut(last - 1, last)
    return tf.concat([ends[0], inner, ends[1]], axis=axis)


def _determinant(rows: list[list[tf.Tensor]]) -> tf.Tensor:
    """Return the determinant of a matrix given by its elements, by the first row."""
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for column, element in enumerate(rows[0]):
        minor = [row[:column] + row[column + 1 :] for row in rows[1:]]
        terms.append((-1.0) ** column * element * _determinant(minor))
    return tf.add_n(terms)


def read_options(entry: Mapping[str, Any]) -> dict[str, FieldOptions | None]:
    """
    Read the augmentation `gaussian_field` of a configuration.

    :param entry: its keys; those that are missing have the defaults.
    :return: by side (moving, fixed), which fields deform it; None leaves it.
    :raises ValueError: for another choice of images, or a number out of range.
    """
    images = entry.get("images", "both")
    if images not in IMAGES:
        raise ValueError(
            f"gaussian_field.images: expected one of {', '.join(IMAGES)}, got "
            f"{images!r}."
        )
    names = FieldOptions.__dataclass_fields__
    given = {name: value for name, value in entry.items() if name in names}
    width = given.get("width", FieldOptions.width)
    given["width"] = (width, width) if isinstance(width, (int, float)) else tuple(width)
    options = FieldOptions(**given)
    return {side: options if images in ("both", side) else None for side in SIDES}


@REGISTRY.register_data_augmentation(name="gaussian_field")
class GaussianField(tf.keras.layers.Layer):
    """
    Warp images with smooth random displacement fields, their labels with them.

    As a DeepReg augmentation it deforms every sample by fields of its own, so DeepReg's
    own methods can train on them. With `train.method: reptile` the same functions run
    where mini-batches are drawn. Beyond the image there are zeros.
    """

    def __init__(
        self,
        sigma: float = FieldOptions.sigma,
        num_centers: int | None = FieldOptions.num_centers,
        width: float | tuple[float, float] = FieldOptions.width,
        reference: float | None = FieldOptions.reference,
        fold_free: bool = FieldOptions.fold_free,
        images: str = "both",
        moving_image_size: tuple | None = None,
        fixed_image_size: tuple | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        name: str = "gaussian_field",
    ) -> None:
        """
        :param sigma: see `FieldOptions`, as for the next four.
        :param num_centers: Gaussians of a field.
        :param width: their standard deviations, (least, greatest) or one.
        :param reference: voxels of an image whose pixels are the unit of length.
        :param fold_free: whether fields that fold are drawn anew.
        :param images: both, moving or fixed: those that are warped.
        :param moving_image_size: given by DeepReg, not needed.
        :param fixed_image_size: given by DeepReg, not needed.
        :param batch_size: given by DeepReg, not needed.
        :param seed: of the random stream.
        :param name: of the layer.
        :raises ValueError: for a value out of range.
        """
        super().__init__(trainable=False, name=name)
        self._config = dict(
            sigma=sigma,
            num_centers=num_centers,
            width=width,
            reference=reference,
            fold_free=fold_free,
            images=images,
            moving_image_size=moving_image_size,
            fixed_image_size=fixed_image_size,
            batch_size=batch_size,
            seed=seed,
            name=name,
        )
        self.options = read_options(self._config)
        self._generator = tf.random.Generator.from_seed(seed)

    def get_config(self) -> dict:
        """Return the arguments that build an equal layer."""
        return dict(self._config)

    def call(self, inputs: dict[str, tf.Tensor], **kwargs: object) -> dict:
        """
        Warp images and labels; each sample and each side has a field of its own.

        :param inputs: DeepReg's dictionary; images and labels have the shape (batch,
            dim1, dim2, dim3).
        :param kwargs: not used.
        :return: the dictionary with images and labels warped.
        """
        outputs, seeds = dict(inputs), self._generator.make_seeds(2)  # (2, 2)
        for index, (side, options) in enumerate(self.options.items()):
            if options is None:
                continue
            names = [f"{side}_image", f"{side}_label"]
            names = [name for name in names if name in inputs]
            volumes = tf.stack([inputs[name] for name in names], axis=-1)
            size, batch = tuple(volumes.shape[1:4]), tf.shape(volumes)[0]
            ddf = draw_fields(seeds[:, index], batch, size, options)
            warped = tf.unstack(warp(volumes, ddf), axis=-1)
            outputs.update(zip(names, warped, strict=True))
        return outputs
