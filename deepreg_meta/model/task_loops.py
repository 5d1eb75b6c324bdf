"""The inner loops of an episode: from the meta-weights to where each task leads."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.outer_step import with_gradients
from deepreg_meta.model.task import Task
from deepreg_meta.model.task_draw import domain_draws, pair_draws


class ReptileOptions(NamedTuple):
    """Hyper-parameters of the outer loop."""

    inner_steps: int = 10  # k
    tasks_per_step: int = 1  # m
    meta_step_size: float = 0.5  # beta_meta of the first episode
    meta_step_size_end: float = 1e-5  # beta_meta of the last episode
    num_episodes: int = 1  # over which beta_meta decays linearly
    average_iterates: bool = False  # equation 10 of Baum et al. 2022
    carry_optimizer_state: bool = False
    seed: int = 0
    is_fomaml: bool = False  # the gradient at theta_k in place of phi - theta_k
    is_domain: bool = False  # a task is several pairs of a domain, not one pair


class Outcome(NamedTuple):
    """What the inner loops of several tasks led to, summed up."""

    weights: list[tf.Tensor]  # of the network
    state: list[tf.Tensor]  # of the optimiser; empty where it is not shared
    losses: tf.Tensor  # (n,), means over the inner steps


class TaskLoops:
    """
    Run the inner loops of the tasks of an episode, each from the same start.

    A plain class, because Keras would save its variables with the weights.
    """

    def __init__(
        self,
        drawer: BatchDrawer,
        options: ReptileOptions,
        optimizer: tf.keras.optimizers.Optimizer,
        are_several: bool = False,
    ) -> None:
        """
        :param drawer: draws mini-batches.
        :param options: of the outer loop.
        :param optimizer: of the inner steps; its state is that of the model.
        :param are_several: whether loops of several devices take the steps, each with
            a copy of the optimiser.
        """
        self._drawer, self._options, self._optimizer = drawer, options, optimizer
        self._is_shared = are_several or options.tasks_per_step > 1

    def shared_state(self) -> list[tf.Variable]:
        """Return the optimiser's variables where several tasks carry them on."""
        if self._options.carry_optimizer_state and self._is_shared:
            return list(self._optimizer.variables)
        return []

    def start(self, network: tf.keras.layers.Layer, num_losses: int) -> Outcome:
        """
        Return what every task of an episode starts from.

        :param network: with the meta-weights.
        :param num_losses: n of the losses, which are zero.
        """
        return Outcome(
            weights.snapshot(network.weights),
            weights.snapshot(self.shared_state()),
            tf.zeros([num_losses]),
        )

    def run(
        self,
        loop: InnerLoop,
        tasks: Sequence[Task],
        indices: Iterable[int],
        start: Outcome,
        episode: tf.Variable,
    ) -> Outcome:
        """
        Run the inner loops of some tasks, one after the other.

        :param loop: takes the steps.
        :param tasks: of the episode.
        :param indices: of those that run here.
        :param start: where each of them starts.
        :param episode: its number, on which all that is drawn depends.
        :return: the sum of what they led to.
        """
        network, total = loop.network, weights.zeros_like(start.weights)
        state, losses = weights.zeros_like(start.state), start.losses
        seed = tf.stack([self._options.seed, tf.cast(episode, tf.int32)])
        for index in indices:
            weights.restore(network.weights, start.weights)
            if not self._options.carry_optimizer_state:
                loop.reset_optimizer()
            if start.state:
                weights.restore(loop.optimizer.variables, start.state)
            own = tf.random.experimental.stateless_fold_in(seed, index)
            end, history = self._run_one(loop, tasks[index], own)
            total = weights.accumulate(total, network.weights if end is None else end)
            if start.state:
                state = weights.accumulate(state, loop.optimizer.variables)
            losses += tf.reduce_mean(history, axis=0)
        return Outcome(total, state, losses)

    def _run_one(
        self, loop: InnerLoop, task: Task, seed: tf.Tensor
    ) -> tuple[list[tf.Tensor] | None, tf.Tensor]:
        """Take the k inner steps of one task; what it leads to, if not its weights."""
        options = self._options
        draws = domain_draws if options.is_domain else pair_draws
        draw = draws(self._drawer, task, seed)
        end, history = loop.run(
            draw, options.inner_steps, average=options.average_iterates
        )
        if options.is_fomaml:
            # on a draw that no inner step has seen
            gradients = loop.gradients(draw(tf.constant(options.inner_steps)))
            end = with_gradients(loop.network, gradients)
        return end, history
