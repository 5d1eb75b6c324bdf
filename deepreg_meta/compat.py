"""
The one place that knows the faults of DeepReg 0.1.2 and of legacy Keras.

`apply()` cures them once, in place, so that DeepReg's own methods run on today's stack
with the results they are documented to give. Nothing else in this package patches.
"""

import collections
import collections.abc
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from deepreg_meta.stack import require_stack

require_stack()

import tensorflow as tf  # noqa: E402
from deepreg.model import layer as deepreg_layer  # noqa: E402
from deepreg.model import layer_util  # noqa: E402

logger = logging.getLogger(__name__)
_APPLIED: list[bool] = []


def apply() -> None:
    """Cure DeepReg's faults; a second call does nothing."""
    if _APPLIED:
        return
    _APPLIED.append(True)
    _restore_collections_mapping()
    _let_resample_take_any_batch()
    _build_checkpoint_callback_without_a_step()
    _keep_users_folder_clean()
    _quieten_keras()


def _quieten_keras() -> None:
    """Keras warns of every optimiser option it ignores on a CPU; users cannot act."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    tf.get_logger().setLevel(logging.ERROR)


def _restore_collections_mapping() -> None:
    """`deepreg.config.parser` merges with `collections.Mapping` (gone in 3.10)."""
    if not hasattr(collections, "Mapping"):
        collections.Mapping = collections.abc.Mapping  # type: ignore[attr-defined]


def _let_resample_take_any_batch() -> None:
    """
    `layer_util.resample` needs a static batch size, so a ragged last batch fails in
    `fit`. Where the size is unknown, each sample is resampled as a batch of one, which
    is DeepReg's own arithmetic on the same numbers.
    """
    original = layer_util.resample

    def resample(
        vol: tf.Tensor,
        loc: tf.Tensor,
        interpolation: str = "linear",
        zero_boundary: bool = True,
    ) -> tf.Tensor:
        if vol.shape[0] is not None:
            return original(vol, loc, interpolation, zero_boundary)
        if loc.shape[0] == 1:  # one grid for the whole batch
            loc = tf.repeat(loc, tf.shape(vol)[0], axis=0)

        def one(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            volume, where = pair
            return original(volume[None], where[None], interpolation, zero_boundary)[0]

        signature = tf.TensorSpec(
            [*loc.shape[1:-1], *vol.shape[1 + loc.shape[-1] :]], vol.dtype
        )
        return tf.map_fn(one, (vol, loc), fn_output_signature=signature)

    layer_util.resample = resample


def _build_checkpoint_callback_without_a_step() -> None:
    """
    DeepReg runs one step of `fit` before it trains or restores, only to create the
    optimiser's variables; with a checkpoint restored over it that is hidden, without
    one it is a weight update nobody asked for. Here the optimiser is built instead.
    """
    import deepreg.callback
    import deepreg.predict
    import deepreg.train

    def build_checkpoint_callback(
        model: tf.keras.Model,
        dataset: tf.data.Dataset,
        log_dir: str,
        save_period: int,
        ckpt_path: str,
    ) -> tuple[deepreg.callback.CheckpointManagerCallback, int]:
        model.optimizer.build(model.trainable_variables)
        callback = deepreg.callback.CheckpointManagerCallback(
            model, log_dir + "/save", period=save_period
        )
        if not ckpt_path:
            return callback, 0
        epoch = ckpt_path.split("-")[-1]
        if not epoch.isdigit():
            raise ValueError(
                "--ckpt_path: expected a checkpoint ending in ckpt-<epoch>, got "
                f"{ckpt_path!r}."
            )
        callback.restore(ckpt_path)
        return callback, int(epoch)

    deepreg.callback.build_checkpoint_callback = build_checkpoint_callback
    deepreg.train.build_checkpoint_callback = build_checkpoint_callback
    deepreg.predict.build_checkpoint_callback = build_checkpoint_callback


def _keep_users_folder_clean() -> None:
    """An old configuration is updated in memory, not beside the user's file."""
    import deepreg.config.parser as parser

    original = parser.save

    def save(config: dict, out_dir: str, filename: str = "config.yaml") -> None:
        if filename.startswith("updated_"):
            logger.warning("%s was updated to today's form in memory.", filename[8:])
            return
        original(config=config, out_dir=out_dir, filename=filename)

    parser.save = save


@contextlib.contextmanager
def layers(**classes: Callable[..., Any]) -> Iterator[None]:
    """
    Let DeepReg's blocks that are built inside the context use other layers.

    :param classes: what makes a layer, by its name in `deepreg.model.layer`, such as
        Norm or Conv3d.
    """
    originals = {name: getattr(deepreg_layer, name) for name in classes}
    for name, made_by in classes.items():
        setattr(deepreg_layer, name, made_by)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(deepreg_layer, name, original)


@contextlib.contextmanager
def normalisation(factory: Callable[[], Any] | None) -> Iterator[None]:
    """
    Let DeepReg's blocks that are built inside the context use another normalisation.

    :param factory: class or function without arguments that makes the layer to use in
        place of DeepReg's `Norm`; None leaves it.
    """
    if factory is None:
        yield
        return
    with layers(Norm=factory):
        yield


@contextlib.contextmanager
def quiet_losses() -> Iterator[None]:
    """Hide DeepReg's warnings that a model without losses has no losses."""

    def keep(record: logging.LogRecord) -> bool:
        return "Loss is not used" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)
