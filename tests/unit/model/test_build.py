"""Tests of deepreg_meta/model/build.py."""

import pytest
import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.dataset.gaussian_field import FieldOptions
from deepreg_meta.model.build import build_optimizer, build_reptile, draw_options
from deepreg_meta.model.partial import select_part
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.model.task import DrawOptions
from deepreg_meta.model.task_loops import ReptileOptions
from tests.helpers import (
    FIXED_SHAPE,
    MOVING_SHAPE,
    make_task,
    model_config,
    stack_tasks,
    without_xla,
)

SIZES = dict(
    moving_image_size=list(MOVING_SHAPE),
    fixed_image_size=list(FIXED_SHAPE),
    index_size=2,
    labeled=True,
    batch_size=3,
)
GRAPHS: set[str] = set()  # none of the tests needs one
FRAMES = {"name": "sparse_frames", "frames": [2, 5], "axis": 1, "reverse": True}


def test_an_optimiser_takes_all_its_options():
    """The update is left to TensorFlow's own kernels on a CPU."""
    config = dict(name="Adam", learning_rate=0.02, beta_1=0.5)
    optimizer = build_optimizer(config)
    assert isinstance(optimizer, tf.keras.optimizers.Adam)
    assert float(optimizer.learning_rate) == pytest.approx(0.02)
    assert optimizer.beta_1 == 0.5
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    assert optimizer.jit_compile is has_gpu
    assert config == dict(name="Adam", learning_rate=0.02, beta_1=0.5)


def test_half_precision_scales_the_loss():
    """Small gradients would vanish in float16; bfloat16 has the range of float32."""
    config = dict(name="SGD", learning_rate=0.02)
    scaling = tf.keras.mixed_precision.LossScaleOptimizer
    for precision in ("float32", "mixed_bfloat16"):
        assert not isinstance(build_optimizer(config, precision), scaling)
    optimizer = build_optimizer(config, "mixed_float16")
    assert isinstance(optimizer, scaling)
    assert isinstance(optimizer.inner_optimizer, tf.keras.optimizers.SGD)


def test_precision_and_recomputing_reach_the_network():
    config = model_config() | dict(precision="mixed_float16", recompute=True)
    config["adapt"] = dict(config.get("adapt") or {}, optimizer=config["optimizer"])
    model = build_reptile(**SIZES, config=config)
    layers = list(model.network.backbone.submodules)
    assert {x.compute_dtype for x in layers if type(x).__name__ == "Conv3dBlock"} == {
        "float16"
    }
    assert any(hasattr(layer, "_has_weights") for layer in layers)
    scaling = tf.keras.mixed_precision.LossScaleOptimizer
    assert isinstance(model._adapt_optimizer, scaling)


def test_every_option_of_drawing_is_read():
    """Values that are none of the defaults."""
    config = dict(
        preprocess=dict(data_augmentation=[{"name": "affine", "scale": 0.3}, FRAMES]),
        align=dict(mode="sections", label=2),
        adapt=dict(labels=[1, 0]),
        stretch=True,
    )
    assert draw_options(config, batch_size=4) == DrawOptions(
        align="sections",
        align_label=2,
        frames=(2, 5),
        frame_axis=1,
        reverse=True,
        affine_scale=0.3,
        batch_size=4,
        adapt_labels=(1, 0),
        stretch=True,
    )


def test_without_augmentation_nothing_is_augmented():
    """DeepReg itself augments when the key is missing; its `affine` has scale 0.1."""
    plain = draw_options({}, batch_size=1)
    assert (plain.affine_scale, plain.frames, plain.align) == (0.0, None, "center")
    single = dict(preprocess=dict(data_augmentation={"name": "affine"}))
    assert draw_options(single, 1).affine_scale == 0.1


@pytest.mark.parametrize("images", ["both", "moving", "fixed"])
def test_random_fields_reach_the_sides_that_are_to_be_deformed(images):
    entry = dict(name="gaussian_field", sigma=3, width=[9, 12], images=images)
    config = dict(preprocess=dict(data_augmentation=[FRAMES, entry]))
    options, field = draw_options(config, 1), FieldOptions(sigma=3, width=(9, 12))
    assert options.moving_field == (None if images == "fixed" else field)
    assert options.fixed_field == (None if images == "moving" else field)
    plain = draw_options(dict(preprocess=dict(data_augmentation=[FRAMES])), 1)
    assert plain.moving_field is None and plain.fixed_field is None


def test_the_registry_builds_the_model_of_a_configuration():
    """Every key of `meta` and `adapt` arrives."""
    config = model_config(
        augmentation=[FRAMES],
        align="sections",
        base="dvf",
        tasks_per_step=2,
        meta_step_size=0.75,
        meta_step_size_end=0.25,
        iterate="average",
        inner_optimizer_state="carry",
        adapt=dict(
            steps=6, frames=[3, 7], optimizer=dict(name="SGD", learning_rate=0.5)
        ),
    )
    model = REGISTRY.build_model(dict(name="reptile", config=config, **SIZES))
    assert isinstance(model, ReptileModel)
    assert tuple(model.options) == tuple(
        ReptileOptions(
            inner_steps=2,
            tasks_per_step=2,
            meta_step_size=0.75,
            meta_step_size_end=0.25,
            num_episodes=4,
            average_iterates=True,
            carry_optimizer_state=True,
            seed=3,
        )
    )
    assert model.adapt_steps == 6
    assert model.drawer.options.frames == (2, 5)
    assert model.drawer.options.batch_size == 3
    assert model.adapt_drawer.options.frames == (3, 7)
    assert model.loss_fn.names == ["label", "regularization"]
    model.compile(optimizer=build_optimizer(config["optimizer"]))
    found = model._adaptation.loop.optimizer
    assert isinstance(found, tf.keras.optimizers.SGD)
    assert float(found.learning_rate) == 0.5


@pytest.mark.parametrize(
    ("adapt", "frames"),
    [
        ({}, (2, 5)),
        ({"schedule": "all"}, (5, 5)),
        ({"schedule": "all", "frames": [3, 7]}, (7, 7)),
    ],
)
def test_the_schedule_all_shows_all_frames_from_the_first_update(adapt, frames):
    """F_min = F_max."""
    model = build_reptile(
        config=model_config(augmentation=[FRAMES], adapt=adapt), **SIZES
    )
    assert model.adapt_drawer.options.frames == frames
    assert model.drawer.options.frames == (2, 5)


def test_adaptation_has_a_copy_of_the_optimiser_of_training():
    """The same options, a state of its own."""
    config = model_config(optimizer=dict(name="Adam", learning_rate=0.02, beta_1=0.5))
    model = build_reptile(config=config, **SIZES)
    model.compile(optimizer=build_optimizer(config["optimizer"]))
    copy = model._adaptation.loop.optimizer
    assert copy is not model.optimizer
    assert copy.get_config() == model.optimizer.get_config()


def test_the_sizes_of_a_weak_configuration_have_defaults():
    """`meta` and `adapt` may be missing, as in a call from Python."""
    config = model_config()
    for name in ("meta", "adapt", "align", "preprocess"):
        config.pop(name)
    model = build_reptile(config=config, **{**SIZES, "labeled": False})
    assert tuple(model.options) == tuple(ReptileOptions(seed=3))
    assert model.adapt_steps == 0
    assert model.drawer.options.align == "center"


@pytest.mark.parametrize("part", [None, "all", "decoder", "heads"])
def test_adaptation_trains_the_layers_asked_for_and_training_all(part):
    """Its optimiser knows no other variables."""
    config = model_config(adapt={} if part is None else {"layers": part})
    model = build_reptile(config=config, **SIZES)
    model.compile(optimizer=build_optimizer(config["optimizer"]))
    expected = select_part(model.network, part or "all").variables
    loop = model._adaptation.loop
    assert [v.name for v in loop.part.variables] == [v.name for v in expected]
    assert len(loop.optimizer.variables) == 2 * len(expected) + 1
    every = len(model.network.trainable_variables)
    assert (len(expected) == every) == (part in (None, "all"))
    assert len(model.optimizer.variables) == 2 * every + 1


def test_a_part_that_the_backbone_lacks_is_refused_when_the_model_is_built():
    """Before anything is compiled or trained."""
    config = model_config(adapt={"layers": "decoder"})
    config["backbone"] = dict(name="global", num_channel_initial=1, extract_levels=[1])
    with pytest.raises(
        ValueError, match="adapt.layers: expected all or heads with the"
    ):
        build_reptile(config=config, **SIZES)


@pytest.mark.parametrize("parameterization", ["penalty", "separable"])
def test_the_penalty_of_a_kernel_is_a_part_of_the_loss_where_there_is_one(
    parameterization,
):
    """In the logs of training, and in the history of an adaptation."""
    config = model_config(align="center", adapt={"steps": 2})
    config["backbone"] = dict(
        name="meta_regularized",
        backbone=config["backbone"],
        parameterization=parameterization,
        kernel_size=3,
    )
    with without_xla():
        model = build_reptile(
            MOVING_SHAPE, FIXED_SHAPE, 2, True, batch_size=1, config=config
        )
    model.compile(optimizer=build_optimizer(config["optimizer"]))
    penalty, names = model.network.penalty(), ["label", "regularization"]
    own = [] if parameterization == "separable" else ["kernel"]
    assert model.loss_fn.names == [*names, *own]
    assert model.history_names[: len(names + own) + 1] == [*names, *own, "total"]

    history = model.adapt(make_task(), 2)["history"].numpy()
    logs = model.train_step(stack_tasks(make_task()))

    field = history[0, :2] @ [model.loss_fn.weights[name] for name in names]
    expected = 0.0 if penalty is None else float(penalty)
    assert (expected != 0.0) == bool(own)
    assert history[0, len(names + own)] - field == pytest.approx(expected, abs=1e-5)
    assert "kernel" not in logs if not own else float(logs["kernel"]) != 0.0
    assert set(logs) <= set(model.log_names)
