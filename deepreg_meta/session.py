"""
The interactive session: frames of the fixed image arrive one by one, and the network
adapts to what has been seen so far.

    registrar = Registrar("logs/first")
    moving = PairFiles("mr.nii.gz", ["mr_gland.nii.gz"])
    session = registrar.session("trus_grid.nii.gz", moving)
    for position, image, label in probe:
        session.add_frame(image, position, label)
        state = session.register(steps=1)
    state.transform.map_points(points)  # mm, RAS
    state.save("result")
"""

import threading
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.case import Case, check_pair, make_case
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.dataset.frames import FrameStack
from deepreg_meta.dataset.pair import Side, read_side
from deepreg_meta.dataset.pipeline import task_arrays
from deepreg_meta.dataset.stored import Place, read_place
from deepreg_meta.dataset.target import build_targets
from deepreg_meta.dataset.volume import Volume
from deepreg_meta.dataset.volume_check import DataError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.volume_file import read_volume
from deepreg_meta.model.adapt_plan import AdaptPlan
from deepreg_meta.model.open_adaptation import OpenAdaptation
from deepreg_meta.model.reptile import ReptileModel
from deepreg_meta.model.task import Task
from deepreg_meta.pair_setup import shown_case, warn_of_places
from deepreg_meta.results.case import CaseResult
from deepreg_meta.results.session_state import SessionState

NAME = "the grid of the session"


class Session:
    """
    One registration whose fixed image is still being acquired.

    `Registrar.session` opens it. Other pairs may be registered meanwhile, and other
    sessions be open: the network has its own weights between any two calls. Frames may
    arrive in another thread than the one that registers: those that come during the
    updates are seen by the next ones.

    Source: Baum et al., IEEE TMI 2022, III-E.
    """

    def __init__(
        self,
        config: RunConfig,
        model: ReptileModel,
        adaptation: OpenAdaptation,
        fixed: str | Path | Grid,
        moving: PairFiles,
        *,
        lock: AbstractContextManager,
        initial: str = "config",
        intensity_range: tuple[float, float] | None = None,
        expected: dict | None = None,
    ) -> None:
        """
        :param config: for the pair, from `pair_config`.
        :param model: for such pairs; it shows frames.
        :param adaptation: of the model; several sessions may share it. It is compiled
            here, so that no frame has to wait for it.
        :param fixed: as for `Registrar.session`, as are the next three.
        :param moving: see `fixed`.
        :param lock: held while the network adapts, which others may want to use too.
        :param initial: see `fixed`.
        :param intensity_range: see `fixed`.
        :param expected: what is known of the run's training data.
        :raises ValueError: for files or options that cannot be used.
        """
        self._config, self._model, self._initial = config, model, initial
        self._files, self._expected = moving, expected or {}
        self._adaptation = adaptation
        self._network_lock = lock
        self._frames_lock = threading.Lock()
        self._moving = self._read_moving()
        self._path, grid, place = _grid_of(fixed)
        self._frames = FrameStack(
            grid,
            place,
            self._path,
            build_targets(config)["fixed"],
            model.adapt_drawer.options.frame_axis,
            self._moving.volume.label_names,
            self._expected.get("fixed"),
            intensity_range,
        )
        self._channels, self._is_timed = self._needed_channels(), False
        case = self._case(self._frames.stand_in())
        warn_of_places(case, config.align.mode)
        self._seconds = self._compile(case)

    def _read_moving(self) -> Side:
        """Read the moving side."""
        target = build_targets(self._config)["moving"]
        if target.intensity.needs_pair:
            raise ValueError(
                "dataset.intensity.moving: expected no step that refers to the fixed "
                "image, which a session does not have as a whole, got one."
            )
        return read_side(self._files, target, self._expected.get("moving", {}), None)

    def _needed_channels(self) -> tuple[int, ...]:
        """Return the label channels that adaptation or alignment look at."""
        if not self._moving.volume.label_names:
            return ()
        needed = set(self._config.adapt.labels)
        if self._config.align.mode in ("centroid", "sections"):
            needed.add(self._config.align.label)
        return tuple(sorted(needed))

    def _case(self, fixed: Volume) -> Case:
        """Join the fixed volume, as it is known, with the moving one."""
        moving, mask = self._moving.volume, self._moving.mask
        problems = check_pair(self._config, moving, fixed)
        if problems:
            raise DataError("The pair of the session cannot be used:", problems)
        name = f"{Path(self._files.image).name.split('.')[0]}_to_session"
        masks = {} if mask is None else {"moving": mask}
        return make_case(name, (0,), moving, fixed, masks)

    def _task(self, case: Case) -> Task:
        """Return the pair as the model is shown it."""
        sides = PairFiles(self._path), self._files
        shown = shown_case(case, self._initial, sides)
        # without channels that nobody looks at, sessions of other moving labels are of
        # the same shapes, and nothing is compiled for them
        count = max(self._channels, default=-1) + 1
        if shown.moving_labels is not None and shown.fixed_labels is not None:
            shown = replace(
                shown,
                moving_labels=shown.moving_labels[:count],
                fixed_labels=shown.fixed_labels[:count],
            )
        arrays = task_arrays(shown, count)
        return Task(**{name: tf.constant(value) for name, value in arrays.items()})

    def _compile(self, case: Case) -> float:
        """Take an update that is forgotten; seconds that it took."""
        begin = time.perf_counter()
        task = self._task(case)
        self._constants = self._adaptation.constants(task)
        slices = np.zeros((1, len(self._frames.slices())), np.float32)
        slices[0, len(slices[0]) // 2] = 1
        with self._network_lock:
            self.forget()
            for steps in (0, 1):
                self._adaptation.go_on(
                    task, self._constants, tf.constant(slices), self._state, steps
                )
        return time.perf_counter() - begin

    @property
    def compile_seconds(self) -> float:
        """Seconds that tracing and compiling took, before the first frame."""
        return self._seconds

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Sides of a frame: those of the grid without the axis across the frames."""
        return self._frames.frame_shape

    @property
    def frame_axis(self) -> int:
        """The axis of the grid that runs across the frames."""
        return self._frames.axis

    @property
    def positions(self) -> tuple[int, ...]:
        """Indices of the slices that have arrived, in order."""
        return self._frames.positions

    def add_frame(
        self, image: ArrayLike, position: int, label: ArrayLike | None = None
    ) -> None:
        """
        Take in a frame; `register` adapts to it.

        :param image: (a, b) as `frame_shape`, a slice of the session's grid.
        :param position: its index along `frame_axis`; a frame that is there already is
            replaced.
        :param label: what the frame shows of the structure that the run adapts by, (a,
            b) in [0, 1], zeros where it shows none; or all channels of the moving
            labels, (L, a, b). None where the session has no labels.
        :raises ValueError: for a frame or a label that does not fit.
        """
        count = len(self._frames.label_names)
        if label is None and count:
            raise ValueError(
                "label: expected the contour of the frame as a mask, zeros where it "
                "shows none, got none."
            )
        if label is not None and not count:
            raise ValueError("label: expected none, as of the moving side, got one.")
        if label is not None:
            label = self._all_channels(np.asarray(label), count)
        with self._frames_lock:
            self._frames.add(image, position, label)

    def _all_channels(self, label: NDArray, count: int) -> NDArray:
        """Put a single label where it belongs; the channels left are not looked at."""
        if label.ndim != 2:
            return label
        if len(self._channels) != 1:
            raise ValueError(
                f"label: expected {count} channels, (L, a, b), for a run that looks at "
                f"the channels {list(self._channels)}, got a single one."
            )
        if label.shape != self.frame_shape:
            first, second = self.frame_shape
            raise ValueError(
                f"label: expected a mask of {first} x {second} voxels, as of the "
                f"frame, got shape {label.shape}."
            )
        channels = np.zeros((count, *label.shape), np.float32)
        channels[self._channels[0]] = label
        return channels

    def remove_frame(self, position: int) -> None:
        """
        Forget a frame, such as a blurred one; what was adapted to it stays.

        :param position: of the frame.
        :raises ValueError: where there is none.
        """
        with self._frames_lock:
            self._frames.remove(position)

    def forget(self) -> None:
        """Start from the trained weights again; the frames stay."""
        with self._network_lock:
            self._state = self._adaptation.begin()

    def register(self, steps: int = 1, seconds: float | None = None) -> SessionState:
        """
        Adapt to the frames so far, going on from the last call, and predict.

        Where the labels alone say what is right and no frame shows any yet, nothing is
        adapted.

        :param steps: updates, >= 0; 0 predicts alone.
        :param seconds: take as many updates as fit into this time instead.
        :return: transform, warped volumes and losses.
        :raises ValueError: without a frame, or for another number or time.
        """
        _check_limits(steps, seconds)
        plan = AdaptPlan(int(steps), seconds)
        with self._frames_lock:  # what arrives from here on is not seen
            volume, slices = self._frames.volume(), self._frames.slices()
            positions = self.positions
        case = self._case(volume)
        if self._has_nothing_to_go_by(case):
            plan = plan._replace(steps=0, seconds=None)
        known = self._task(case), self._constants, tf.constant(slices[None])
        with self._network_lock:
            if plan.seconds is not None and not self._is_timed:
                # compiled now, so that the time is that of the work
                self._adaptation.go_on(*known, self._state, seconds=1e-9)
                self._is_timed = True
            begin = time.perf_counter()
            found, self._state = self._adaptation.go_on(
                *known, self._state, plan.most, plan.seconds
            )
            outputs = {name: value.numpy() for name, value in found.items()}
            taken = time.perf_counter() - begin
        result = CaseResult(
            case=case,
            outputs={**outputs, "slices": slices},
            seconds=taken,
            frame_axis=self._model.adapt_drawer.options.frame_axis,
            is_sparse=True,
            scores_images=self._model.loss_fn.uses_image,
            is_open=True,
        )
        return SessionState(result, positions, self._channels)

    def _has_nothing_to_go_by(self, case: Case) -> bool:
        """Tell whether labels alone drive the run, and no frame shows one."""
        loss = self._model.loss_fn
        if loss.uses_image or case.fixed_labels is None:
            return False
        return not case.fixed_labels[list(self._config.adapt.labels)].any()


def _check_limits(steps: int, seconds: float | None) -> None:
    """:raises ValueError: for another number of updates, or another time."""
    is_number = isinstance(steps, int | np.integer) and not isinstance(steps, bool)
    if not is_number or steps < 0:
        raise ValueError(f"steps: expected an integer >= 0, got {steps!r}.")
    if seconds is None:
        return
    is_number = isinstance(seconds, int | float | np.number)
    if not is_number or not 0 < seconds < float("inf"):
        raise ValueError(f"seconds: expected a number > 0, got {seconds!r}.")


def _grid_of(fixed: str | Path | Grid) -> tuple[str, Grid, Place]:
    """Return a name for messages, the grid, and what is known of where it lies."""
    if isinstance(fixed, Grid):
        return NAME, fixed, Place(fixed.affine, True, (fixed.affine,))
    return str(fixed), read_volume(Path(fixed)).grid, read_place(str(fixed))
