"""Build what adapts scale by scale, networks and fields, from a configuration."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from deepreg_meta.geometry.scale import Size, scaled_size
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.field_stage import FieldStage
from deepreg_meta.model.free_field import FreeField
from deepreg_meta.model.inner_loop import KERNEL, SIDES, InnerLoop
from deepreg_meta.model.level import Level
from deepreg_meta.model.multi_scale import ScaleOptions, Scales
from deepreg_meta.model.pyramid import PyramidNetwork
from deepreg_meta.model.registration import RegistrationLoss

_LEAST = (1, 3, 5)  # voxels for no derivative, first and second ones along an axis
# Of optimisers that divide by the size of gradients. Those of a mean over voxels are as
# small as Keras's 1e-7, which would slow them down, more so the larger the image.
_EPSILON = 1e-12
_WITH_EPSILON = ("Adam", "AdamW", "Adamax", "Nadam")


def build_scales(
    adapt: Mapping[str, Any],
    loss: Mapping[str, Any],
    labeled: bool,
    common: RegistrationLoss,
    network: FieldNetwork | PyramidNetwork,
    network_of: Callable[[Size], FieldNetwork],
) -> Scales | None:
    """
    Build what adapts scale by scale.

    :param adapt: the section `adapt`.
    :param loss: the section `train.loss`, which a scale's own is merged into.
    :param labeled: whether the data has labels.
    :param common: the loss of `train.loss`.
    :param network: that was or will be trained.
    :param network_of: builds one like it for another grid.
    :return: None without `adapt.scales`.
    :raises ValueError: when the weights of the network depend on its grid.
    """
    entries = adapt.get("scales")
    if not entries:
        return None
    options = [
        ScaleOptions(
            entry["scale"],
            entry.get("learning_rate"),
            _loss_of_scale(loss, entry.get("loss"), labeled, common),
        )
        for entry in entries
    ]
    for own in options:
        grid = scaled_size(network.fixed_image_size, own.scale)
        _check_grid("adapt.scales", own.scale, grid, own.loss or common)
    if isinstance(network, PyramidNetwork):
        is_own = adapt.get("scale_start") == "own"
        own_networks = network.networks[: len(options)]
        return Scales(tuple(options), tuple(own_networks), None, not is_own)
    full = network.fixed_image_size
    networks = [
        network if own.scale == 1 else network_of(scaled_size(full, own.scale))
        for own in options
    ]
    shapes = [[tuple(w.shape) for w in x.weights] for x in (*networks, network)]
    if any(found != shapes[-1] for found in shapes):
        raise ValueError(
            "adapt.scales: expected a backbone whose weights are the same on every "
            "grid, got one whose are not. Train it with train.scales."
        )
    return Scales(tuple(options), tuple(networks), tuple(network.weights))


def build_field_stage(
    section: Mapping[str, Any] | None,
    loss: Mapping[str, Any],
    labeled: bool,
    common: RegistrationLoss,
    full: Size,
    build_optimizer: Callable[[dict], tf.keras.optimizers.Optimizer],
) -> FieldStage | None:
    """
    Build what fits the field itself.

    :param section: `adapt.field`; None for no such stage.
    :param loss: the section `train.loss`, which that of the field is merged into.
    :param labeled: whether the data has labels.
    :param common: the loss of `train.loss`.
    :param full: the full grid.
    :param build_optimizer: from a section such as `train.optimizer`.
    :raises ValueError: when the loss has other parts, or cannot take the grid of a
        scale.
    """
    if not section:
        return None
    own = _field_loss(loss, section.get("loss"), labeled, common)
    levels = []
    for scale in section["scales"]:
        size = _field_grid(scale, full, own)
        optimizer = build_optimizer(_field_optimizer(section["optimizer"]))
        network = FreeField(size, section["sigma_vox"])
        levels.append(Level(scale, InnerLoop(network, own, optimizer)))
    return FieldStage(levels, common, full)


def _field_optimizer(section: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the options of what moves the displacements of all voxels.

    :param section: `adapt.field.optimizer`, which is not overridden.
    """
    # a single large variable: its update is worth a kernel of its own
    options: dict[str, Any] = {"jit_compile": True}
    if section["name"] in _WITH_EPSILON:
        options["epsilon"] = _EPSILON
    return options | dict(section)


def _field_grid(scale: float, full: Size, loss: RegistrationLoss) -> Size:
    """
    Return the grid of a scale of `adapt.field`.

    Axes of few voxels, as those across a stack of slices, are shortened no further than
    the derivatives of a field need, as long as another axis has the scale.

    :param scale: in (0, 1].
    :param full: the full grid.
    :param loss: of the field.
    :raises ValueError: when the loss can take no such grid.
    """
    d1, d2, d3 = scaled = scaled_size(full, scale)
    for least in _LEAST:
        n1, n2, n3 = (min(n, least) for n in full)
        grid = max(d1, n1), max(d2, n2), max(d3, n3)
        if any(a == b > 1 for a, b in zip(grid, scaled, strict=True)):
            with contextlib.suppress(ValueError):
                loss.check_grid(grid)
                return grid
    _check_grid("adapt.field", scale, scaled, loss)
    return scaled


def _check_grid(key: str, scale: float, grid: Size, loss: RegistrationLoss) -> None:
    """Refuse a scale whose grid its loss cannot take."""
    try:
        loss.check_grid(grid)
    except ValueError as err:
        sides = " x ".join(map(str, grid))
        raise ValueError(
            f"{key}: the grid of scale {scale:g} is {sides}: {err}"
        ) from err


def merge_loss(
    loss: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """
    Merge the loss of a scale, or of the field, into that of training.

    :param loss: the section `train.loss`.
    :param own: what changes of it; null removes an option.
    :return: options by term.
    """
    merged = {
        name: {**(loss.get(name) or {}), **(own.get(name) or {})}
        for name in dict.fromkeys([*loss, *own])
    }
    return {
        name: {key: value for key, value in term.items() if value is not None}
        for name, term in merged.items()
    }


def _loss_of_scale(
    loss: Mapping[str, Any],
    own: Mapping[str, Any] | None,
    labeled: bool,
    common: RegistrationLoss,
) -> RegistrationLoss | None:
    """Merge the loss of a scale into that of the others; None where it has none."""
    if own is None:
        return None
    others = [name for name in common.names if name in (SIDES, KERNEL)]
    return _merged_loss("adapt.scales", loss, own, labeled, common, others)


def _field_loss(
    loss: Mapping[str, Any],
    own: Mapping[str, Any] | None,
    labeled: bool,
    common: RegistrationLoss,
) -> RegistrationLoss:
    """
    Return the loss of `adapt.field`: that of a field which no network made.

    :param loss: the section `train.loss`.
    :param own: the section `adapt.field.loss`, merged into it.
    :param labeled: whether the data has labels.
    :param common: the loss of `train.loss`; itself where nothing differs.
    :raises ValueError: when its parts are others, or it cannot be built.
    """
    if own is None and not {SIDES, KERNEL} & {*common.names}:
        return common
    return _merged_loss("adapt.field", loss, own or {}, labeled, common)


def _merged_loss(
    key: str,
    loss: Mapping[str, Any],
    own: Mapping[str, Any],
    labeled: bool,
    common: RegistrationLoss,
    others: Sequence[str] = (),
) -> RegistrationLoss:
    """Merge a loss into that of training; `others` are parts of the network's own."""
    try:
        found = RegistrationLoss(merge_loss(loss, own), labeled, others)
    except Exception as err:  # whatever a constructor refuses, or no loss of that name
        raise ValueError(f"{key}: its loss cannot be built: {err}") from err
    parts, own_parts = (
        [name for name in one.names if name not in (SIDES, KERNEL)]
        for one in (common, found)
    )
    if parts != own_parts:
        raise ValueError(
            f"{key}: expected a loss with the parts of train.loss, "
            f"{', '.join(parts)}, got {', '.join(own_parts)}."
        )
    return found
