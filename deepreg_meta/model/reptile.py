"""Reptile over registration tasks, as a Keras model."""

from typing import NamedTuple

import tensorflow as tf

from deepreg_meta import weights
from deepreg_meta.layer.warp import sample
from deepreg_meta.model.alignment import soft_centroid
from deepreg_meta.model.episode import BatchDrawer, Constants, Task
from deepreg_meta.model.inner_loop import InnerLoop
from deepreg_meta.model.registration import (
    Batch,
    FieldNetwork,
    RegistrationLoss,
    locations,
)

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
        adapt_steps: int = 0,
        adapt_drawer: BatchDrawer | None = None,
        name: str = "reptile",
    ) -> None:
        """
        :param network: predicts the field.
        :param loss: of a mini-batch, in training and adaptation.
        :param drawer: draws mini-batches.
        :param options: of the outer loop; None is the defaults.
        :param adapt_optimizer: of adaptation; None adapts with a copy of the inner one.
        :param adapt_steps: updates of adaptation in validation and prediction, N.
        :param adapt_drawer: draws what adaptation sees; None is `drawer`.
        :param name: of the model.
        """
        super().__init__(name=name)
        self.network, self.loss_fn = network, loss
        self.drawer, self.adapt_drawer = drawer, adapt_drawer or drawer
        self.options = options or ReptileOptions()
        self.adapt_steps = adapt_steps
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
        self._adaptation = InnerLoop(self.network, self.loss_fn, adapt)

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
            task = Task(*(data[field][index] for field in Task._fields))
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
        :return: with a leading axis of one: `ddf` and `ddf_unadapted` (f1, f2, f3, 3),
            `matrix` (3, 3) and `offset` (3) of the initial alignment, `slices`, the
            frames seen (num_slices), and `history` (steps, n) as `history_names` says.
        """
        task = Task(*(data[field][0] for field in Task._fields))
        outputs = self.adapt(task, self.adapt_steps)
        return {name: value[None] for name, value in outputs.items()}

    @property
    def log_names(self) -> list[str]:
        """Return what an epoch of training logs, validation included."""
        valid = [f"val_{kind}_{stage}" for kind in ("loss", "dsc") for stage in STAGES]
        return ["loss", *self.loss_fn.names, "meta_step_size", *valid]

    @property
    def history_names(self) -> list[str]:
        """Return the columns of the history of an adaptation."""
        return [*self.loss_fn.names, "total", "num_frames", "dsc", "tre_mm"]

    def adapt(self, task: Task, num_steps: int) -> dict[str, tf.Tensor]:
        """
        Adapt to one pair and predict; the weights are the same before and after.

        :param task: the pair.
        :param num_steps: updates N; 0 predicts with the meta-weights.
        :return: as `predict_step`, without the leading axis.
        """
        drawer, labels = self.adapt_drawer, self.adapt_drawer.options.adapt_labels
        constants = drawer.constants(task)
        frames = drawer.options.frames
        final = drawer.adaptation(
            task, constants, labels[0], None if frames is None else frames[1]
        )
        # before anything runs: batch normalisation moves its averages in a mere forward
        # pass when it uses the statistics of the batch at inference too
        start = weights.snapshot(self.network.weights)
        unadapted = self._predict(final)
        adapted = unadapted
        history = tf.zeros([0, len(self.history_names)])
        if num_steps > 0:
            history = self._take_steps(task, constants, final, num_steps)
            adapted = self._predict(final)
        weights.restore(self.network.weights, start)
        slices = tf.ones([drawer.fixed_size[drawer.options.frame_axis]])
        if frames is not None:
            axis = drawer.options.frame_axis
            slices = drawer.seen_slices(constants, frames[1], axis)[0]
        return dict(
            ddf=adapted[0],
            ddf_unadapted=unadapted[0],
            matrix=final.matrix[0],
            offset=final.offset[0],
            slices=slices,
            history=history,
        )

    def _predict(self, batch: Batch) -> tf.Tensor:
        return self.network(batch.moving_input, batch.fixed_input, training=False)

    def _take_steps(
        self, task: Task, constants: Constants, final: Batch, num_steps: int
    ) -> tf.Tensor:
        """Take the updates of adaptation and return their history."""
        drawer, options = self.adapt_drawer, self.adapt_drawer.options
        labels = tf.constant(options.adapt_labels, tf.int32)
        is_constant = options.frames is None and len(options.adapt_labels) == 1
        points = _landmarks(task)

        def draw(step: tf.Tensor) -> Batch:
            if is_constant:  # every update sees the same
                return final
            label = labels[step % len(options.adapt_labels)]
            seen = drawer.frames_at(step, num_steps)
            return drawer.adaptation(task, constants, label, seen)

        def record(step: tf.Tensor, batch: Batch, ddf: tf.Tensor) -> tf.Tensor:
            seen = drawer.frames_at(step, num_steps)
            number = tf.cast(0 if seen is None else seen, tf.float32)
            return tf.concat([[number], _score(task, points, batch, ddf)], axis=0)

        self._adaptation.reset_optimizer()
        return self._adaptation.run(draw, num_steps, record)[1]

    def test_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """
        Validate one pair, unadapted and adapted.

        :param data: the fields of `Task`, with a leading axis of one.
        :return: total loss and Dice of the first label, before and after adaptation.
        """
        task = Task(*(data[field][0] for field in Task._fields))
        outputs = self.adapt(task, self.adapt_steps)
        constants = self.adapt_drawer.constants(task)
        frames = self.adapt_drawer.options.frames
        batch = self.adapt_drawer.adaptation(
            task, constants, 0, None if frames is None else frames[1]
        )
        points = _landmarks(task)
        logs = {}
        for key, name in zip(("ddf_unadapted", "ddf"), STAGES, strict=True):
            ddf = outputs[key][None]
            logs[f"loss_{name}"] = self.loss_fn.parts(ddf, batch)["total"]
            logs[f"dsc_{name}"] = _score(task, points, batch, ddf)[0]
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


def _landmarks(task: Task) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """
    Return the centroids of all labels but the first.

    :param task: the pair.
    :return: fixed points (n, 3), moving points (n, 3), in voxels, and 1 for those that
        are landmarks and 0 for padding (n,).
    """
    fixed = tf.cast(task.fixed_labels[1:] >= 0.5, tf.float32)
    moving = tf.cast(task.moving_labels[1:] >= 0.5, tf.float32)
    missing = -tf.ones([3])
    points = soft_centroid(fixed, missing), soft_centroid(moving, missing)
    present = tf.reduce_all((points[0] >= 0.0) & (points[1] >= 0.0), axis=1)
    return *points, tf.cast(present, tf.float32)


def _score(task: Task, points: tuple, batch: Batch, ddf: tf.Tensor) -> tf.Tensor:
    """
    Return hard Dice of the whole first label and the RMS landmark error in mm.

    Scores only: no gradient runs through them and no update sees them.

    :param task: the pair.
    :param points: from `_landmarks`.
    :param batch: gives the alignment.
    :param ddf: shape = (1, f1, f2, f3, 3).
    :return: shape = (2,); NaN where there is no label or no landmark.
    """
    if task.fixed_labels.shape[1:] != ddf.shape[1:4]:
        return tf.constant([float("nan")] * 2)
    loc = locations(ddf, batch.matrix, batch.offset)
    warped = tf.cast(sample(task.moving_labels[:1], loc) >= 0.5, tf.float32)
    fixed = tf.cast(task.fixed_labels[:1] >= 0.5, tf.float32)
    sizes = tf.reduce_sum(warped) + tf.reduce_sum(fixed)
    dsc = 2.0 * tf.reduce_sum(warped * fixed) / sizes
    fixed_points, moving_points, present = points
    mapped = fixed_points + sample(ddf, fixed_points[None], boundary="border")[0]
    mapped = tf.linalg.matvec(batch.matrix[0], mapped) + batch.offset[0]
    distance = (mapped - moving_points) * task.moving_spacing
    square = tf.reduce_sum(distance**2, axis=1)
    mean_square = tf.reduce_sum(square * present) / tf.reduce_sum(present)
    return tf.stack([dsc, tf.sqrt(mean_square)])
