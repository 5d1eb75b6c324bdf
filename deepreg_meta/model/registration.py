"""The losses of the fields of one batch of pairs."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.layer.warp import apply_affine, displaced_grid, sample, warp
from deepreg_meta.loss.deform import BendingEnergy, GradientNorm
from deepreg_meta.loss.image import LocalNcc, NccTarget
from deepreg_meta.loss.label import DiceTarget, MultiScaleDice
from deepreg_meta.loss.masked import masked_loss, mean_loss

# Losses without convolutions, which XLA compiles well on CPUs too: ours, and DeepReg's
# by name. Of its global mutual information, XLA makes a slower kernel.
_OURS = (MultiScaleDice, LocalNcc, BendingEnergy, GradientNorm)
_COMPILABLE = ("ssd", "gncc")
_COMPILABLE_UNFILTERED = ("dice", "jaccard", "cross-entropy")  # without `scales`


class MovingMask(NamedTuple):
    """What restricts the losses to a region of the moving image, wherever it goes."""

    mask: tf.Tensor  # (batch, m_dim1, m_dim2, m_dim3), 1 where losses look
    fixed_label: tf.Tensor  # (batch, f_dim1, f_dim2, f_dim3), before any preparation
    spacing_mm: tf.Tensor  # (3,), of the fixed grid


class Batch(NamedTuple):
    """One mini-batch, drawn from one pair, ready for the network and the losses."""

    moving_input: tf.Tensor  # (batch, f_dim1, f_dim2, f_dim3), initially aligned
    fixed_input: tf.Tensor  # (batch, f_dim1, f_dim2, f_dim3), masked to the frames
    matrix: tf.Tensor  # (batch, 3, 3), fixed to moving voxels
    offset: tf.Tensor  # (batch, 3)
    moving_image: tf.Tensor  # (batch, m_dim1, m_dim2, m_dim3)
    moving_label: tf.Tensor  # (batch, m_dim1, m_dim2, m_dim3)
    # (batch, f_dim1, f_dim2, f_dim3), 1 where losses look; None: everywhere
    loss_mask: tf.Tensor | None
    label_target: DiceTarget | tf.Tensor  # the fixed label, prepared for its loss
    shown: tf.Tensor | None = None  # as loss_mask, without the masks that users gave
    moving_mask: MovingMask | None = None
    # the fixed image within loss_mask, prepared for its loss; None: at every step anew
    image_target: NccTarget | tf.Tensor | None = None
    # (batch, f_dim1, f_dim2, f_dim3, 3), the field that a residual one refines: volumes
    # are sampled once, under the two of them composed; None for a whole field
    base: tf.Tensor | None = None
    # where the loss of labels looks, as loss_mask; None is there
    label_mask: tf.Tensor | None = None


def _fast_equal(name: str, options: dict) -> Any:
    """Return our equal of a loss of DeepReg's, None where it has none."""
    if name == "dice":
        product = dict(binary=False, neg_weight=0.0, kernel="gaussian")
        others = {key: value for key, value in options.items() if key != "scales"}
        if all(product.get(key) == value for key, value in others.items()):
            scales = options.get("scales") or [0]
            try:
                return MultiScaleDice(sigmas_mm=scales, in_voxels=True, name=name)
            except ValueError as err:
                raise ValueError(str(err).replace("sigmas_mm", "scales")) from err
    if name == "lncc" and options.keys() <= {"kernel_size", "kernel_type"}:
        # in other windows DeepReg's is no correlation: see LocalNcc
        is_equal = options.get("kernel_type", "rectangular") == "rectangular"
        return LocalNcc(**options, name=name) if is_equal else None
    if name == "bending" and not options:
        return BendingEnergy(name=name)
    if name == "gradient" and options.keys() <= {"l1"}:
        return GradientNorm(**options, name=name)
    return None


def build_loss(section: dict) -> Any:
    """
    Build a registered loss; some of DeepReg's take their fast equals here.

    :param section: name and options, without the weight.
    """
    options = {key: value for key, value in section.items() if key != "name"}
    equal = _fast_equal(section["name"], options)
    return REGISTRY.build_loss(section) if equal is None else equal


def _is_compilable(section: dict, loss: Any) -> bool:
    """Return whether a loss becomes a good kernel of XLA."""
    name = section["name"]
    unfiltered = name in _COMPILABLE_UNFILTERED and not section.get("scales")
    return isinstance(loss, _OURS) or name in _COMPILABLE or unfiltered


class _Warped(NamedTuple):
    """The moving side under a field."""

    image: tf.Tensor | None  # (batch, f_dim1, f_dim2, f_dim3), where a loss sees it
    label: tf.Tensor | None  # same shape
    mask: tf.Tensor | None  # same shape, the voxels that count; None: all


class RegistrationLoss:
    """Image, label and regularisation losses of a DeepReg `train.loss` section."""

    def __init__(self, config: dict, labeled: bool, others: Sequence[str] = ()) -> None:
        """
        :param config: {image: {name, weight, ...}, label: ..., regularization: ...};
            losses with weight 0 and label losses of unlabeled data are left out.
        :param labeled: whether the data has labels.
        :param others: parts that are not of the field; the inner loop adds them.
        """
        self._others = tuple(others)
        self._config = config
        self.weights: dict[str, float] = {}
        self._losses: dict[str, Any] = {}
        compilable = True
        for key in ("image", "label", "regularization"):
            section = dict(config.get(key) or {})
            weight = float(section.pop("weight", 1.0))
            if not section or weight == 0.0 or (key == "label" and not labeled):
                continue
            self.weights[key] = weight
            self._losses[key] = build_loss(section)
            compilable &= _is_compilable(section, self._losses[key])
        # Everything after the network is one compiled kernel: memory-bound passes over
        # the field, which XLA fuses. Where a loss has convolutions, which are slow in
        # XLA's kernels on CPUs, only the warp is one.
        # AutoGraph would take a second of every start, for nothing.
        self._is_compilable = compilable
        self._compile = functools.partial(tf.function, autograph=False)
        self.parts = self._compile(self.compute, jit_compile=compilable)
        self._warp = self._warped
        if not compilable:
            self._warp = self._compile(self._warped, jit_compile=True)

    def compiled(self, function: Callable) -> Callable:
        """
        Compile what is computed around the losses, where they are compiled.

        :param function: of tensors; calls `compute`.
        :return: a kernel of XLA, else the function itself.
        """
        if not self._is_compilable:
            return function
        return self._compile(function, jit_compile=True)

    def without_label(self) -> "RegistrationLoss":
        """Return the same losses but for that of the labels."""
        return RegistrationLoss(self._config, labeled=False)

    def check_grid(self, size: Sequence[int]) -> None:
        """
        Refuse a grid that the regularisation cannot take.

        :param size: (d1, d2, d3), voxels.
        :raises ValueError: as the loss does.
        """
        if "regularization" in self._losses:
            self._losses["regularization"](tf.zeros([1, *size, 3]))

    @property
    def uses_label(self) -> bool:
        """Whether a label loss takes part."""
        return "label" in self._losses

    @property
    def uses_image(self) -> bool:
        """Whether an image loss takes part."""
        return "image" in self._losses

    @property
    def names(self) -> list[str]:
        """The parts of the loss in order, those of the field first, before `total`."""
        return [*self._losses, *self._others]

    def prepare_label(
        self, fixed_label: tf.Tensor, mask: tf.Tensor | None, spacing_mm: tf.Tensor
    ) -> DiceTarget | tf.Tensor:
        """
        Do what the label loss needs of the fixed label, once per label and mask.

        :param fixed_label: shape = (batch, f1, f2, f3).
        :param mask: the voxels that count, same shape, or None for all.
        :param spacing_mm: of the fixed grid, shape = (3,).
        :return: filtered labels for the multi-scale Dice, else the masked label.
        """
        if isinstance(self._losses.get("label"), MultiScaleDice):
            return self._losses["label"].prepare(fixed_label, mask, spacing_mm)
        return fixed_label if mask is None else fixed_label * mask

    def prepare_image(
        self, fixed_image: tf.Tensor, mask: tf.Tensor | None
    ) -> NccTarget | tf.Tensor:
        """
        Do what the image loss needs of the fixed image, once per image and mask.

        :param fixed_image: shape = (batch, f1, f2, f3).
        :param mask: the voxels that count, same shape, or None for all.
        :return: sums over windows for the local correlation, else the masked image.
        """
        if isinstance(self._losses.get("image"), LocalNcc):
            return self._losses["image"].prepare(fixed_image, mask)
        return _within(fixed_image, mask)

    def _label_loss(
        self, batch: Batch, warped_label: tf.Tensor, mask: tf.Tensor | None
    ) -> tf.Tensor:
        loss, target = self._losses["label"], batch.label_target
        if batch.moving_mask is not None:  # where it lies changes at every step
            side = batch.moving_mask
            target = self.prepare_label(side.fixed_label, mask, side.spacing_mm)
        if isinstance(loss, MultiScaleDice):
            return tf.reduce_mean(loss.evaluate(target, warped_label))
        own = mask if batch.label_mask is None else batch.label_mask
        return mean_loss(loss, target, _within(warped_label, own))

    def _image_loss(
        self, batch: Batch, warped: tf.Tensor, mask: tf.Tensor | None
    ) -> tf.Tensor:
        loss, target = self._losses["image"], batch.image_target
        if target is None or batch.moving_mask is not None:
            target = self.prepare_image(batch.fixed_input, mask)
        if batch.shown is None:
            return mean_loss(loss, target, _within(warped, mask))
        return masked_loss(loss, target, warped, mask, batch.shown)

    @staticmethod
    def _mask(batch: Batch, loc: tf.Tensor) -> tf.Tensor | None:
        """Return the voxels that count under the present field."""
        if batch.moving_mask is None:
            return batch.loss_mask
        inside = sample(batch.moving_mask.mask, loc) >= 0.5
        return _within(tf.cast(inside, tf.float32), batch.loss_mask)

    def _warped(self, ddf: tf.Tensor, batch: Batch) -> _Warped:
        """Return what the image and label losses see of the moving side."""
        batch = _constant(batch)
        if batch.base is not None:
            ddf += warp(batch.base, ddf, boundary="border")
        loc = locations(ddf, batch.matrix, batch.offset)
        image = sample(batch.moving_image, loc) if self.uses_image else None
        label = sample(batch.moving_label, loc) if self.uses_label else None
        return _Warped(image, label, self._mask(batch, loc))

    def compute(self, ddf: tf.Tensor, batch: Batch) -> dict[str, tf.Tensor]:
        """
        Return the unweighted losses of a field and their weighted total.

        `parts` is the same, compiled.

        :param ddf: shape = (batch, f1, f2, f3, 3).
        :param batch: what the field was predicted from; no gradient flows to it.
        :return: scalars by name, means over the batch, and `total`, infinite when of
            some pair no voxel lies in the mask of the moving image any more.
        """
        batch = _constant(batch)
        values = {}
        if self.uses_label or self.uses_image:
            image, label, mask = self._warp(ddf, batch)
        if self.uses_image:
            values["image"] = self._image_loss(batch, image, mask)
        if self.uses_label:
            values["label"] = self._label_loss(batch, label, mask)
        if "regularization" in self._losses:
            values["regularization"] = self._losses["regularization"](ddf)
        values["total"] = tf.add_n(
            [self.weights[key] * values[key] for key in self._losses]
        )
        if batch.moving_mask is not None and (self.uses_label or self.uses_image):
            # a field that leaves the mask has nothing left to disagree with: it must
            # never be taken for the better one
            is_left = tf.reduce_max(mask, axis=[1, 2, 3]) >= 0.5
            values["total"] += tf.where(tf.reduce_all(is_left), 0.0, float("inf"))
        return values


def _within(volume: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Return a volume with zeros off a mask; None is a mask of ones."""
    return volume if mask is None else volume * mask


def _constant(batch: Batch) -> Batch:
    """
    Return a mini-batch that no gradient flows to.

    The gradient of a kernel is one to all that went in, wanted or not, and that of a
    volume which was sampled costs more than all the others.
    """
    return tf.nest.map_structure(
        lambda value: None if value is None else tf.stop_gradient(value), batch
    )


def locations(ddf: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """
    Return where every fixed voxel lands in the moving grid: A (x + u(x)) + t.

    :param ddf: u, shape = (batch, f1, f2, f3, 3), in fixed voxels.
    :param matrix: A, shape = (batch, 3, 3).
    :param offset: t, shape = (batch, 3).
    :return: shape = (batch, f1, f2, f3, 3), in moving voxels.
    """
    return apply_affine(displaced_grid(ddf), matrix, offset)
