"""Reptile over registration tasks, as a Keras model."""

from typing import NamedTuple

import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.model.adaptation import (
    Adaptation,
    AdaptPlan,
    PlanValues,
    first_task,
    history_names,
)
from deepreg_meta.model.episode import BatchDrawer, Task
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.registration import Batch, RegistrationLoss
from deepreg_meta.model.score import landmark_points, score_field

STAGES = ("unadapted", "adapted")


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


class ReptileModel(tf.keras.Model):
    """
    Meta-train a registration network by Reptile and adapt it to single pairs.

    One training step is one episode. From the meta-weights phi, k inner steps on
    mini-batches of one task lead to theta_k; then

        phi <- phi + beta_meta * (mean over m tasks of theta_k - phi).

    All weights that inference uses take part, normalisation statistics included. Every
    random draw depends on the seed and the number of the episode alone, so a run that
    continues from a checkpoint repeats the uninterrupted one.

    Sources: Nichol et al. 2018, arXiv:1803.02999, Algorithm 1; Baum et al., IEEE TMI
    2022, III-C to III-F (`average_iterates` is their equation 10).
    """

    def __init__(
        self,
        network: FieldNetwork,
        loss: RegistrationLoss,
        drawer: BatchDrawer,
        options: ReptileOptions | None = None,
        adapt_optimizer: tf.keras.optimizers.Optimizer | None = None,
        adapt_plan: AdaptPlan | None = None,
        adapt_drawer: BatchDrawer | None = None,
        name: str = "reptile",
    ) -> None:
        """
        :param network: predicts the field.
        :param loss: of a mini-batch, in training and adaptation.
        :param drawer: draws mini-batches.
        :param options: of the outer loop; None is the defaults.
        :param adapt_optimizer: of adaptation; None adapts with a copy of the inner one.
        :param adapt_plan: of adaptation in validation and prediction; None takes no
            steps.
        :param adapt_drawer: draws what adaptation sees; None is `drawer`.
        :param name: of the model.
        """
        super().__init__(name=name)
        self.network, self.loss_fn = network, loss
        self.drawer, self._adapt_drawer = drawer, adapt_drawer or drawer
        self.options = options or ReptileOptions()
        self._plan, self._plan_values = AdaptPlan(), PlanValues()
        self.adapt_plan = adapt_plan or AdaptPlan()
        self._adapt_optimizer = adapt_optimizer
        self.episode = tf.Variable(0, dtype=tf.int64, trainable=False, name="episode")
        names = [name.removeprefix("val_") for name in self.log_names]
        self._means = {name: tf.keras.metrics.Mean(name=name) for name in names}

    def compile(
        self, optimizer: tf.keras.optimizers.Optimizer, **kwargs: object
    ) -> None:
        """
        Set the inner optimiser.

        :param optimizer: takes the inner steps; its state is saved with the model.
        :param kwargs: of Keras.
        """
        super().compile(optimizer=optimizer, **kwargs)
        self._inner = InnerLoop(self.network, self.loss_fn, optimizer)
        adapt = self._adapt_optimizer
        if adapt is None:
            adapt = type(optimizer).from_config(optimizer.get_config())
        loop = InnerLoop(self.network, self.loss_fn, adapt)
        self._adaptation = Adaptation(loop, self._adapt_drawer)

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

        :param data: the fields of `Task`, each with a leading axis of m tasks.
        :return: mean losses over the inner steps, and the meta step size.
        """
        options = self.options
        variables = self.network.weights
        start = weights.snapshot(variables)
        total = weights.zeros_like(start)
        names = [*self.loss_fn.names, "total"]
        losses = tf.zeros([len(names)])
        for index in range(options.tasks_per_step):
            task = Task(**{name: value[index] for name, value in data.items()})
            weights.restore(variables, start)
            if not options.carry_optimizer_state:
                self._inner.reset_optimizer()
            mean, history = self._run_task(task, index)
            total = weights.accumulate(total, variables if mean is None else mean)
            losses += tf.reduce_mean(history, axis=0)
        end = weights.scale(total, 1.0 / options.tasks_per_step)
        step_size = self.meta_step_size()
        weights.restore(variables, weights.interpolate(start, end, step_size))
        self.episode.assign_add(1)
        logs = dict(
            zip(names, tf.unstack(losses / options.tasks_per_step), strict=True)
        )
        logs = {"loss": logs.pop("total"), **logs, "meta_step_size": step_size}
        return self._average(logs)

    def _run_task(
        self, task: Task, index: int
    ) -> tuple[list[tf.Tensor] | None, tf.Tensor]:
        """Take the k inner steps of one task."""
        constants = self.drawer.constants(task)
        seed = tf.stack([self.options.seed, tf.cast(self.episode, tf.int32)])
        seed = tf.random.experimental.stateless_fold_in(seed, index)

        def draw(step: tf.Tensor) -> Batch:
            own = tf.random.experimental.stateless_fold_in(seed, step)
            return self.drawer.training(task, constants, own)

        return self._inner.run(
            draw, self.options.inner_steps, average=self.options.average_iterates
        )

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

    @property
    def adapt_drawer(self) -> BatchDrawer:
        """What draws for adaptation and prediction."""
        return self._adapt_drawer

    @adapt_drawer.setter
    def adapt_drawer(self, drawer: BatchDrawer) -> None:
        self._adapt_drawer = self._adaptation.drawer = drawer
        self.predict_function = None  # it was traced for another one

    @property
    def adapt_plan(self) -> AdaptPlan:
        """How far adaptation goes in validation and prediction."""
        return self._plan

    @adapt_plan.setter
    def adapt_plan(self, plan: AdaptPlan) -> None:
        if plan.kind != self._plan.kind:
            self.predict_function = None  # it was traced for another kind
        self._plan = plan
        self._plan_values.assign(plan)

    @property
    def adapt_steps(self) -> int:
        """Updates of adaptation in validation and prediction."""
        return int(self.adapt_plan.steps)

    @adapt_steps.setter
    def adapt_steps(self, steps: int) -> None:
        self.adapt_plan = self.adapt_plan._replace(steps=steps)

    @property
    def history_names(self) -> list[str]:
        """Return the columns of the history of an adaptation."""
        return history_names(self.loss_fn)

    @property
    def log_names(self) -> list[str]:
        """Return what an epoch of training logs, validation included."""
        valid = [f"val_{kind}_{stage}" for kind in ("loss", "dsc") for stage in STAGES]
        return ["loss", *self.loss_fn.names, "meta_step_size", *valid]

    def test_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """
        Validate one pair, unadapted and adapted.

        :param data: the fields of `Task`, with a leading axis of one.
        :return: total loss and Dice of the first label, before and after adaptation.
        """
        task = first_task(data)
        outputs = self._adaptation.run(task, self.adapt_plan)
        constants = self.adapt_drawer.constants(task)
        frames = self.adapt_drawer.options.frames
        batch = self.adapt_drawer.adaptation(
            task, constants, 0, None if frames is None else frames[1]
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
