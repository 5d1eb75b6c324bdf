"""Build the Reptile model from a DeepReg configuration, for DeepReg's registry."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.dataset.random_field import read_options
from deepreg_meta.geometry.scale import Size, scaled_size
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.build_scales import build_field_stage, build_scales
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.inner_loop import KERNEL, SIDES
from deepreg_meta.model.partial import ALL, select_part
from deepreg_meta.model.plateau import Plateau
from deepreg_meta.model.precision import advise
from deepreg_meta.model.pyramid import PyramidNetwork
from deepreg_meta.model.registration import RegistrationLoss
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.model.task import DrawOptions
from deepreg_meta.model.task_loops import ReptileOptions

logger = logging.getLogger(__name__)


def build_optimizer(
    config: dict, precision: str = "float32"
) -> tf.keras.optimizers.Optimizer:
    """
    Build a Keras optimiser.

    :param config: {name, learning_rate, ...}, DeepReg's `train.optimizer`.
    :param precision: of the network; in mixed_float16 the optimiser scales the loss.
    :return: a new optimiser. On a CPU its update is not compiled by XLA: one small
        compilation for each variable costs seconds and saves nothing.
    """
    options = dict(config)
    optimizer_class = getattr(tf.keras.optimizers, options["name"])
    options.setdefault("jit_compile", bool(tf.config.list_physical_devices("GPU")))
    optimizer = optimizer_class(**options)
    if precision == "mixed_float16":
        return tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def _augmentations(config: dict) -> dict[str, dict]:
    """Return the augmentations of `train.preprocess` by name."""
    section = config.get("preprocess", {}).get("data_augmentation") or []
    entries = [section] if isinstance(section, dict) else list(section)
    return {entry["name"]: entry for entry in entries}


def draw_options(config: dict, batch_size: int) -> DrawOptions:
    """
    Read how mini-batches are drawn.

    :param config: DeepReg's `train` section, with `align` and `adapt` beside `meta`.
    :param batch_size: mini-batch of one inner step.
    """
    augmentations = _augmentations(config)
    sparse = augmentations.get("sparse_frames")
    deformed = augmentations.get("gaussian_field")
    fields = read_options(deformed) if deformed else {}
    align = config.get("align") or {}
    return DrawOptions(
        align=align.get("mode", "center"),
        align_label=align.get("label", 0),
        frames=tuple(sparse["frames"]) if sparse else None,
        frame_axis=sparse["axis"] if sparse else 0,
        reverse=sparse.get("reverse", False) if sparse else False,
        affine_scale=augmentations.get("affine", {"scale": 0.0}).get("scale", 0.1),
        moving_field=fields.get("moving"),
        fixed_field=fields.get("fixed"),
        batch_size=batch_size,
        # unlabeled data has one placeholder channel, which no loss looks at
        adapt_labels=tuple(config.get("adapt", {}).get("labels") or [0]),
        stretch=bool(config.get("stretch", False)),
    )


def adapt_plan(adapt: Mapping[str, Any], **others: Any) -> AdaptPlan:
    """
    Read how far adaptation goes.

    :param adapt: the section `adapt`.
    :param others: fields of the plan that the section does not say.
    """
    steps, plateau = adapt.get("steps", 0), adapt.get("plateau")
    return AdaptPlan(
        steps=tuple(steps) if isinstance(steps, (list, tuple)) else steps,
        keep=adapt.get("keep", "last"),
        plateau=Plateau(**plateau) if plateau else None,
        field_steps=_field_steps(adapt.get("field")),
        **others,
    )


def _field_steps(section: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Return the updates of each scale of `adapt.field`."""
    if not section:
        return ()
    steps, count = section["steps"], len(section["scales"])
    return (steps,) * count if isinstance(steps, int) else tuple(steps)


def reptile_options(meta: Mapping[str, Any], seed: int) -> ReptileOptions:
    """
    Read the hyper-parameters of the outer loop.

    :param meta: the section `train.meta`.
    :param seed: of what is drawn.
    """
    return ReptileOptions(
        inner_steps=meta.get("inner_steps", 10),
        tasks_per_step=meta.get("tasks_per_step", 1),
        meta_step_size=meta.get("meta_step_size", 0.5),
        meta_step_size_end=meta.get("meta_step_size_end", 1e-5),
        num_episodes=meta.get("num_episodes", 1),
        average_iterates=meta.get("iterate", "last") == "average",
        carry_optimizer_state=meta.get("inner_optimizer_state", "reset") == "carry",
        seed=seed,
        is_fomaml=meta.get("update", "reptile") == "fomaml",
        is_domain=meta.get("task", "pair") == "domain",
    )


@REGISTRY.register_model(name="reptile")
def build_reptile(
    moving_image_size: tuple,
    fixed_image_size: tuple,
    index_size: int,
    labeled: bool,
    batch_size: int,
    config: dict,
    num_devices: int = 1,
    name: str = "reptile",
) -> ReptileModel:
    """
    Build a Reptile model as DeepReg builds its models.

    :param moving_image_size: (m_dim1, m_dim2, m_dim3).
    :param fixed_image_size: (f_dim1, f_dim2, f_dim3).
    :param index_size: not needed.
    :param labeled: whether the data has labels.
    :param batch_size: mini-batch of one inner step.
    :param config: DeepReg's `train` section with `meta`, and with `align` and `adapt`
        of the top level put beside it.
    :param num_devices: not needed.
    :param name: of the model.
    :return: the model, to be compiled with the inner optimiser.
    """
    del index_size, num_devices
    meta, adapt = config.get("meta", {}), config.get("adapt", {})
    outer_loop = reptile_options(meta, config.get("seed", 0))
    # of a domain, a mini-batch is of different pairs, each of them drawn by itself
    options = draw_options(config, 1 if outer_loop.is_domain else batch_size)
    frames = adapt.get("frames") or options.frames
    if adapt.get("schedule", "sweep") == "all" and frames is not None:
        frames = (frames[1], frames[1])
    adapt_options = replace(options, frames=tuple(frames) if frames else None)
    sizes = tuple(moving_image_size), tuple(fixed_image_size)
    outer = meta.get("outer_optimizer")
    optimizer, precision = adapt.get("optimizer"), config.get("precision", "float32")
    if advice := advise(precision):
        logger.warning(advice)

    def network_of(size: Size) -> FieldNetwork:
        return FieldNetwork(
            meta.get("base", "ddf"),
            config["backbone"],
            size,
            precision=precision,
            recompute=config.get("recompute", False),
        )

    def new_network() -> FieldNetwork | PyramidNetwork:
        scales = config.get("scales")
        if not scales:
            return network_of(sizes[1])
        grids = [scaled_size(sizes[1], scale) for scale in scales]
        return PyramidNetwork([network_of(grid) for grid in grids])

    network = new_network()
    others = [SIDES] if network.side_weights else []
    others += [] if network.penalty() is None else [KERNEL]
    loss = RegistrationLoss(config["loss"], labeled, others)
    return ReptileModel(
        network=network,
        new_network=new_network,
        loss=loss,
        drawer=BatchDrawer(options, loss, *sizes),
        adapt_drawer=BatchDrawer(adapt_options, loss, *sizes),
        scales=build_scales(adapt, config["loss"], labeled, loss, network, network_of),
        options=outer_loop,
        outer_optimizer=build_optimizer(outer) if outer else None,
        adapt_optimizer=(build_optimizer(optimizer, precision) if optimizer else None),
        adapt_part=select_part(network, adapt.get("layers", ALL)),
        adapt_plan=adapt_plan(adapt),
        field_stage=build_field_stage(
            adapt.get("field"), config["loss"], labeled, loss, sizes[1], build_optimizer
        ),
        name=name,
    )
