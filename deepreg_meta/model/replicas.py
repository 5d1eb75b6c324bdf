"""
The replicas of a `tf.distribute` strategy, each with inner loops of its own.

The weights of an inner loop are no variables of the strategy. Those may differ between
the replicas (`ON_READ`), but no Keras optimiser updates them in a loop of the graph: it
leaves the replica's thread at every update (`merge_call`), even where it is told to sum
no gradients up, and TensorFlow forbids that inside a loop. So every replica owns plain
variables, and its loop becomes a finished function before the replica enters: an
optimiser, asked for nothing but `apply_gradients`, never meets the strategy.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.registration import RegistrationLoss

logger = logging.getLogger(__name__)


class Replicas:
    """
    Run inner loops on every device of a strategy, and sum up what comes out.

    A plain class, because Keras would save its variables with the weights.

    Example::

        replicas = Replicas(strategy, new_network, loss, optimizer)
        shares = replicas.share(num_tasks)
        totals = replicas.sum(lambda loop, index: run_tasks(loop, shares[index]))
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        new_network: Callable[[], FieldNetwork],
        loss: RegistrationLoss,
        optimizer: tf.keras.optimizers.Optimizer,
    ) -> None:
        """
        :param strategy: of one process, such as `tf.distribute.MirroredStrategy`.
        :param new_network: builds the network of a replica.
        :param loss: of a mini-batch.
        :param optimizer: every replica has a copy of it, which follows its learning
            rate; it takes no steps itself.
        :raises ValueError: for a strategy over several processes.
        """
        devices = strategy.extended.worker_devices
        if len(devices) != strategy.num_replicas_in_sync:
            raise ValueError(
                "strategy: expected one whose replicas are all in this process, such "
                f"as MirroredStrategy, got {type(strategy).__name__} with "
                f"{len(devices)} of {strategy.num_replicas_in_sync} replicas here."
            )
        self._strategy, self._optimizer = strategy, optimizer
        config = optimizer.get_config()
        # a schedule follows the count of updates, which every copy keeps itself
        self._has_one_rate = not isinstance(config.get("learning_rate"), Mapping)
        self._loops: list[InnerLoop] = []
        for device in devices:
            with tf.device(device):
                own = type(optimizer).from_config(optimizer.get_config())
                self._loops.append(InnerLoop(new_network(), loss, own))

    def share(self, num_tasks: int) -> list[range]:
        """
        Divide the tasks of an episode among the replicas.

        :param num_tasks: m.
        :return: the indices of the tasks of each replica, equally many, in order.
        :raises ValueError: when m is no multiple of the number of replicas.
        """
        number = len(self._loops)
        if num_tasks % number:
            raise ValueError(
                f"train.meta.tasks_per_step: expected a multiple of {number}, the "
                f"number of devices that train, got {num_tasks}. Change it, or choose "
                "fewer devices with --gpu."
            )
        size = num_tasks // number
        return [range(i * size, (i + 1) * size) for i in range(number)]

    def sum(self, function: Callable[[InnerLoop, int], Any]) -> Any:
        """
        Call a function on every replica, each on its device, and sum its results up.

        The replicas meet here and nowhere else.

        :param function: takes the inner loop and the index of a replica, and returns a
            structure of tensors.
        :return: the same structure.
        """
        calls = [self._finish(function, index) for index in range(len(self._loops))]

        @tf.autograph.experimental.do_not_convert
        def replica() -> Any:
            context = tf.distribute.get_replica_context()
            return calls[int(tf.get_static_value(context.replica_id_in_sync_group))]()

        with self._strategy.scope():
            results = self._strategy.run(replica)
            return tf.nest.map_structure(
                lambda value: self._strategy.reduce("SUM", value, axis=None), results
            )

    def _finish(self, function: Callable[[InnerLoop, int], Any], index: int) -> Any:
        """Trace a function for a replica, outside of the strategy."""
        loop = self._loops[index]
        with tf.device(self._strategy.extended.worker_devices[index]):
            if self._has_one_rate:
                loop.optimizer.learning_rate = self._optimizer.learning_rate
            call = tf.function(lambda: function(loop, index), autograph=False)
            return call.get_concrete_function()


def check_no_scope() -> None:
    """
    Make sure that no strategy manages what is built now.

    :raises ValueError: inside the scope of a strategy.
    """
    if tf.distribute.has_strategy():
        raise ValueError(
            "ReptileModel: expected to be built and compiled outside of "
            "`strategy.scope()`, got the scope of "
            f"{type(tf.distribute.get_strategy()).__name__}. Hand the strategy to "
            "`compile` instead: its inner loops run side by side and unsynchronised, "
            "which variables of a strategy cannot."
        )


def strategy_for(tasks_per_step: int) -> tf.distribute.Strategy | None:
    """
    Choose how the visible GPUs share the tasks of an episode.

    :param tasks_per_step: m.
    :return: a strategy over all of them; None where there is one or none, and for a
        single task, which cannot be shared.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) < 2:
        return None
    if tasks_per_step == 1:
        logger.warning(
            "train.meta.tasks_per_step is 1, so only the first of %d GPUs trains; with "
            "a multiple of %d all of them do.",
            len(gpus),
            len(gpus),
        )
        return None
    logger.info("%d GPUs share the tasks of an episode.", len(gpus))
    return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
