"""Reptile over registration tasks, as a Keras model."""

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.adapt_plan import AdaptPlan, PlanValues
from deepreg_meta.model.adaptation import (
    Adaptation,
    first_task,
    history_names,
)
from deepreg_meta.model.episode import BatchDrawer
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.field_stage import FieldStage
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.multi_scale import Scales
from deepreg_meta.model.open_adaptation import OpenAdaptation
from deepreg_meta.model.outer_step import take_outer_step
from deepreg_meta.model.partial import Part
from deepreg_meta.model.registration import RegistrationLoss
from deepreg_meta.model.replicas import Replicas, check_no_scope
from deepreg_meta.model.score import MeanOfKnown, landmark_points, score_field
from deepreg_meta.model.task import Task
from deepreg_meta.model.task_loops import ReptileOptions, TaskLoops

STAGES = ("unadapted", "adapted")


class _Graphs:
    """
    What has been traced, by the kind of plan: `AdaptPlan.kind`.

    Who alternates between kinds would wait for a new graph at every turn, and pile them
    up. A plain class, because Keras would look into mappings of its own.
    """

    def __init__(self) -> None:
        self.predict: dict[tuple, Any] = {}
        self.together: dict[tuple, Callable] = {}


class ReptileModel(tf.keras.Model):
    """
    Meta-train a registration network by Reptile and adapt it to single pairs.

    One training step is one episode. From the meta-weights phi, k inner steps on
    mini-batches of one task, a pair or a domain, lead to theta_k; then

        phi <- phi + beta_meta * (mean over m tasks of theta_k - phi).

    All weights that inference uses take part, normalisation statistics included. An
    optimiser whose state is carried on moves the same way: every task starts from the
    state of the last episode, and their mean is the next one. Every random draw depends
    on the seed, the number of the episode and that of the task alone, so a run that
    continues from a checkpoint repeats the uninterrupted one, and several devices share
    the tasks of an episode without changing its result beyond rounding.

    Sources: Nichol et al. 2018, arXiv:1803.02999, Algorithm 1; Baum et al., IEEE TMI
    2022, III-C to III-F (`average_iterates` is their equation 10); Park et al. 2021
    for an outer optimiser; Finn et al. 2017, arXiv:1703.03400, section 5.2, for the
    first-order MAML.
    """

    def __init__(
        self,
        network: FieldNetwork,
        loss: RegistrationLoss,
        drawer: BatchDrawer,
        options: ReptileOptions | None = None,
        outer_optimizer: tf.keras.optimizers.Optimizer | None = None,
        adapt_optimizer: tf.keras.optimizers.Optimizer | None = None,
        adapt_part: Part | None = None,
        adapt_plan: AdaptPlan | None = None,
        adapt_drawer: BatchDrawer | None = None,
        scales: Scales | None = None,
        new_network: Callable[[], FieldNetwork] | None = None,
        field_stage: FieldStage | None = None,
        name: str = "reptile",
    ) -> None:
        """
        :param network: predicts the field.
        :param loss: of a mini-batch, in training and adaptation.
        :param drawer: draws mini-batches.
        :param options: of the outer loop; None is the defaults.
        :param outer_optimizer: takes the outer steps, its rate multiplied by the meta
            step size; None goes part of the way, as above.
        :param adapt_optimizer: of adaptation; None adapts with a copy of the inner one.
        :param adapt_part: of the network, which adaptation trains; None is all of it.
        :param adapt_plan: of adaptation in validation and prediction; None takes no
            steps.
        :param adapt_drawer: draws what adaptation sees; None is `drawer`.
        :param scales: at which adaptation goes on, one after the other; None adapts the
            network as a whole, on the full grid.
        :param new_network: builds another one like `network`, for training on several
            devices.
        :param field_stage: fits the field itself, after the network; None leaves it as
            the network predicts it.
        :param name: of the model.
        """
        check_no_scope()
        super().__init__(name=name)
        self._graphs = _Graphs()
        self.network, self.loss_fn = network, loss
        self.drawer, self._adapt_drawer = drawer, adapt_drawer or drawer
        self.options = options or ReptileOptions()
        self._plan, self._plan_values = AdaptPlan(), PlanValues()
        self.adapt_plan = adapt_plan or AdaptPlan()
        self._adapt_optimizer, self._new_network = adapt_optimizer, new_network
        self._adapt_part, self._scales = adapt_part, scales
        self._field_stage = field_stage
        self._replicas: Replicas | None = None
        self.outer_optimizer = outer_optimizer  # saved with the model
        if outer_optimizer is not None:
            outer_optimizer.build(network.trainable_variables)
            self._outer_rate = float(outer_optimizer.learning_rate.numpy())
        elif self.options.is_fomaml:
            raise ValueError(
                "train.meta.update: expected reptile without train.meta."
                "outer_optimizer, got 'fomaml', whose gradient needs one."
            )
        self.episode = tf.Variable(0, dtype=tf.int64, trainable=False, name="episode")
        names = [name.removeprefix("val_") for name in self.log_names]
        self._means = {
            name: (MeanOfKnown if name.startswith("dsc") else tf.keras.metrics.Mean)(
                name=name
            )
            for name in names
        }

    def compile(
        self,
        optimizer: tf.keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy | None = None,
        **kwargs: object,
    ) -> None:
        """
        Set the inner optimiser.

        :param optimizer: takes the inner steps; its state is saved with the model.
        :param strategy: shares the tasks of every episode among its replicas; the
            meta-weights stay plain variables, as do validation and prediction. None
            trains on one device.
        :param kwargs: of Keras.
        :raises ValueError: for what is no strategy, when m is no multiple of the number
            of replicas, or inside the scope of a strategy.
        """
        check_no_scope()
        optimizer = tf.keras.optimizers.get(optimizer)  # from a name, as Keras does
        if strategy is not None and not isinstance(strategy, tf.distribute.Strategy):
            raise ValueError(
                "strategy: expected a tf.distribute.Strategy or None, got "
                f"{strategy!r}."
            )
        super().compile(optimizer=optimizer, **kwargs)
        self._graphs = _Graphs()
        self._replicas = None
        if strategy is not None:
            self._replicas = self._build_replicas(strategy, optimizer)
        self._inner = InnerLoop(self.network, self.loss_fn, optimizer)
        adapt = self._adapt_optimizer
        if adapt is None:
            adapt = type(optimizer).from_config(optimizer.get_config())
        self._adaptation = self._build_adaptation(adapt)
        self._adaptation.prepare(self._plan)

    def _build_adaptation(self, optimizer: tf.keras.optimizers.Optimizer) -> Adaptation:
        """Build what adapts to single pairs, at one scale or at several."""
        drawer, stage = self._adapt_drawer, self._field_stage
        if self._scales is not None:
            return self._scales.build(optimizer, drawer, self.loss_fn, stage)
        loop = InnerLoop(self.network, self.loss_fn, optimizer, self._adapt_part)
        return Adaptation(loop, drawer, stage)

    def _build_replicas(
        self,
        strategy: tf.distribute.Strategy,
        optimizer: tf.keras.optimizers.Optimizer,
    ) -> Replicas:
        """Give every replica weights and an optimiser of its own."""
        if self._new_network is None:
            raise ValueError(
                "strategy: expected a model that was built with `new_network`, got one "
                "without. Give it a function that builds another network."
            )
        replicas = Replicas(strategy, self._new_network, self.loss_fn, optimizer)
        replicas.share(self.options.tasks_per_step)
        return replicas

    def meta_step_size(self) -> tf.Tensor:
        """Return beta_meta of this episode, linear from the first to the last one."""
        options = self.options
        last = max(options.num_episodes - 1, 1)
        share = tf.minimum(tf.cast(self.episode, tf.float32) / last, 1.0)
        start, end = options.meta_step_size, options.meta_step_size_end
        return start + share * (end - start)

    def train_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """
        Run one episode.

        :param data: the fields of `Task`, each with a leading axis of m tasks; where a
            task is a domain, then with the axes (mini-batches, pairs).
        :return: mean losses over the inner steps, and the meta step size.
        """
        num_tasks = self.options.tasks_per_step
        tasks = [
            Task(**{name: value[index] for name, value in data.items()})
            for index in range(num_tasks)
        ]
        names = [*self.loss_fn.names, "total"]
        loops = TaskLoops(
            self.drawer, self.options, self.optimizer, self._replicas is not None
        )
        start = loops.start(self.network, len(names))
        run = functools.partial(
            loops.run, tasks=tasks, start=start, episode=self.episode
        )
        if self._replicas is None:
            total = run(self._inner, indices=range(num_tasks))
        else:
            shares = self._replicas.share(num_tasks)
            total = self._replicas.sum(lambda loop, i: run(loop, indices=shares[i]))
        end = weights.mean(total.weights, num_tasks)
        step_size = self.meta_step_size()
        rate = self._outer_rate if self.outer_optimizer is not None else 1.0
        take_outer_step(
            self.network,
            start.weights,
            end,
            step_size,
            self.outer_optimizer,
            rate,
            self.options.is_fomaml,
        )
        state = weights.mean(total.state, num_tasks)
        weights.restore(loops.shared_state(), state)
        self.episode.assign_add(1)
        logs = dict(zip(names, tf.unstack(total.losses / num_tasks), strict=True))
        logs = {"loss": logs.pop("total"), **logs, "meta_step_size": step_size}
        return self._average(logs)

    def predict_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """
        Adapt to one pair, predict, and restore the meta-weights bit for bit.

        :param data: the fields of `Task`, with a leading axis of one.
        :return: as `Adaptation.run`, with a leading axis of one.
        """
        plan = self._plan_values.of(self.adapt_plan)
        outputs = self._adaptation.run(first_task(data), plan)
        return {name: value[None] for name, value in outputs.items()}

    def adapt(self, task: Task, num_steps: int) -> dict[str, tf.Tensor]:
        """
        Adapt to one pair and predict; the weights are the same before and after.

        :param task: the pair.
        :param num_steps: updates N; 0 predicts with the meta-weights.
        :return: as `Adaptation.run`.
        """
        return self._adaptation.run(task, self.adapt_plan._replace(steps=num_steps))

    def adapt_together(
        self, tasks: Sequence[Task], plan: AdaptPlan
    ) -> tuple[dict[str, tf.Tensor], float]:
        """
        Adapt to several pairs together, after one update that compiles.

        :param tasks: as for `Adaptation.run_together`.
        :param plan: how far.
        :return: as `Adaptation.run_together`, and the seconds that it took.
        """
        self._adaptation.prepare(plan)
        run = self._graphs.together.setdefault(plan.kind, self._run_together(plan))
        given = [
            {k: v for k, v in task._asdict().items() if v is not None} for task in tasks
        ]
        try:
            self._plan_values.assign(plan.fewest())
            with self.carried_aside():
                run(given)
            self._plan_values.assign(plan)
            begin = time.perf_counter()
            found = {name: value.numpy() for name, value in run(given).items()}
            return found, time.perf_counter() - begin
        finally:
            self._plan_values.assign(self._plan)

    def _run_together(self, plan: AdaptPlan) -> Callable[..., dict[str, tf.Tensor]]:
        """Return what adapts to several pairs together, by plans of one kind."""

        @functools.partial(tf.function, autograph=False)
        def run(pairs: list[dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
            own = self._plan_values.of(plan)
            return self._adaptation.run_together([Task(**p) for p in pairs], own)

        return run

    def open_adaptation(self, plan: AdaptPlan) -> OpenAdaptation:
        """
        Return an adaptation to pairs whose frames are still arriving.

        A model that shows frames adapts as a whole: neither `adapt.scales` nor
        `adapt.field` goes with them.

        :param plan: as for `OpenAdaptation`.
        """
        return OpenAdaptation(self._adaptation, plan)

    @property
    def adapt_drawer(self) -> BatchDrawer:
        """What draws for adaptation and prediction."""
        return self._adapt_drawer

    @adapt_drawer.setter
    def adapt_drawer(self, drawer: BatchDrawer) -> None:
        self._adapt_drawer = self._adaptation.drawer = drawer
        # they were traced for another one
        self.predict_function = self.test_function = None
        self._graphs = _Graphs()

    @property
    def adapt_plan(self) -> AdaptPlan:
        """How far adaptation goes in validation and prediction."""
        return self._plan

    @adapt_plan.setter
    def adapt_plan(self, plan: AdaptPlan) -> None:
        if plan.kind != self._plan.kind:
            # it was traced for another kind, which may come again
            self._graphs.predict[self._plan.kind] = self.predict_function
            self.predict_function = self._graphs.predict.get(plan.kind)
        if plan != self._plan:
            self.test_function = None  # which has its numbers in the graph
        self._plan = plan
        self._plan_values.assign(plan)
        if hasattr(self, "_adaptation"):
            self._adaptation.prepare(plan)

    def forget_pair(self) -> None:
        """Let the next pair whose plan carries weights start from the meta-weights."""
        self._adaptation.forget()

    def carried_aside(self) -> contextlib.AbstractContextManager[None]:
        """Put back what a pair carried on, whatever other pairs carry on inside."""
        return self._adaptation.carried_aside()

    @property
    def adapt_steps(self) -> int:
        """Updates of adaptation in validation and prediction."""
        return self.adapt_plan.most

    @adapt_steps.setter
    def adapt_steps(self, steps: int) -> None:
        self.adapt_plan = self.adapt_plan._replace(steps=steps)

    @property
    def history_names(self) -> list[str]:
        """Return the columns of the history of an adaptation."""
        has_scale = self._scales is not None or self._field_stage is not None
        return history_names(self.loss_fn, has_scale)

    @property
    def log_names(self) -> list[str]:
        """Return what an epoch of training logs, validation included."""
        valid = [f"val_{kind}_{stage}" for kind in ("loss", "dsc") for stage in STAGES]
        return ["loss", *self.loss_fn.names, "meta_step_size", *valid]

    def test_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """
        Validate one pair, unadapted and adapted.

        :param data: the fields of `Task`, with a leading axis of one.
        :return: total loss, that of the label which adapts, and Dice of the first
            label, before and after adaptation.
        """
        task = first_task(data)
        outputs = self._adaptation.run(task, self.adapt_plan)
        constants = self.adapt_drawer.constants(task)
        frames = self.adapt_drawer.options.frames
        label = self.adapt_drawer.options.adapt_labels[0]
        batch = self.adapt_drawer.adaptation(
            task, constants, label, None if frames is None else frames[1]
        )
        points = landmark_points(task)
        logs = {}
        for key, name in zip(("ddf_unadapted", "ddf"), STAGES, strict=True):
            ddf = outputs[key][None]
            logs[f"loss_{name}"] = self.loss_fn.parts(ddf, batch)["total"]
            logs[f"dsc_{name}"] = score_field(task, points, batch, ddf)[0]
        return self._average(logs)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Return the running means, which Keras resets at each epoch."""
        return list(self._means.values())

    def _average(self, logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the means of figures over the episodes or cases of an epoch so far."""
        for name, value in logs.items():
            self._means[name].update_state(value)
        return {name: self._means[name].result() for name in logs}
