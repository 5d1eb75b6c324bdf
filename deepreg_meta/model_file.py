"""Trained models, read from the checkpoints of a run."""

import contextlib
import logging
import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import tensorflow as tf
from deepreg.model.backbone.interface import Backbone
from deepreg.registry import REGISTRY

from deepreg_meta import compat
from deepreg_meta.callback.checkpoint import restore_model
from deepreg_meta.config import RunConfig
from deepreg_meta.model.build import build_optimizer, build_reptile
from deepreg_meta.model.precision import check_precision
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.registered import check_registered
from deepreg_meta.training import build_model

logger = logging.getLogger(__name__)


def load_model(config: RunConfig, checkpoint: str) -> ReptileModel:
    """
    Build the model of a configuration and restore its weights.

    :param config: of the run that saved the checkpoint.
    :param checkpoint: its path. For DeepReg's own methods DeepReg wrote it: its
        weights are read, its optimiser's state is not. "" is none: there is nothing to
        be read where no network takes part.
    :return: a model that adapts.
    :raises ValueError: for a checkpoint of another architecture, or options that
        nothing takes.
    """
    if config.is_reptile:
        check_registered(config)
        with _own_draws():
            model = build_model(usable_config(config))
        if checkpoint:
            restore_model(model, checkpoint, weights_only=True)
        return model
    return _load_deepreg_model(config, checkpoint)


@contextlib.contextmanager
def _own_draws() -> Iterator[None]:
    """
    Give the caller's random generators their states back.

    Weights are drawn from the seed of the run before those of the checkpoint replace
    them; what else a program draws must not start anew with every network it reads.
    """
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def usable_config(config: RunConfig) -> RunConfig:
    """
    Let a network predict in float32 where this machine lacks the precision of its run.

    Weights are float32 in any precision.

    :param config: of the run.
    :return: itself, or one with another precision, which is told.
    """
    try:
        check_precision(config.reptile_train.precision)
    except ValueError:
        logger.warning(
            "train.precision: this machine has no GPU for %s; the network predicts and "
            "adapts in float32.",
            config.reptile_train.precision,
        )
        train = config.reptile_train.model_copy(update={"precision": "float32"})
        raw = {**config.raw, "train": {**config.raw["train"], "precision": "float32"}}
        return replace(config, raw=raw, train=train)
    return config


def _load_deepreg_model(config: RunConfig, checkpoint: str) -> ReptileModel:
    """Let a model that DeepReg trained adapt, with its losses and its conventions."""
    dataset, train = config.dataset, config.deepreg_config()["train"]
    adapt = dict(config.raw.get("adapt") or {})
    shapes = dict(
        moving_image_size=dataset.moving_shape,
        fixed_image_size=dataset.fixed_shape,
        index_size=2,
        labeled=dataset.labeled,
        batch_size=1,
    )
    model = build_reptile(
        **shapes,
        config=dict(
            train,
            meta=dict(base=config.method),
            align=dict(mode="corner"),
            adapt=adapt,
            stretch=True,
        ),
    )
    model.compile(optimizer=build_optimizer(train["optimizer"]))
    with compat.quiet_losses():
        original = REGISTRY.build_model(
            dict(name=config.method, **shapes, config=dict(train, loss={}))
        )
    try:
        status = tf.train.Checkpoint(model=original).restore(checkpoint)
        status.expect_partial()
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError) as err:
        raise ValueError(
            f"--ckpt_path: {checkpoint} does not fit the backbone and the method "
            f"{config.method} of the configuration ({str(err).splitlines()[0]})."
        ) from err
    layers = [layer for layer in original._model.layers if isinstance(layer, Backbone)]
    model.network.backbone.set_weights(layers[0].get_weights())
    return model
