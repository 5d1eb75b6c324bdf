"""Frames registered by a trained network, adapted to each pair."""

import contextlib
import logging
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.config import RunConfig
from deepreg_meta.dataset.files import PairFiles
from deepreg_meta.dataset.volume_check import check_num_axes
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.registration import Registrar
from deepreg_meta.results.pair import RegisteredPair
from deepreg_meta.sequence.frames import Frame, FrameSequence

# what they tell of a pair of files holds for all frames of a sequence alike
_TOLD_ONCE = tuple(
    logging.getLogger(f"deepreg_meta.{name}")
    for name in ("registration", "pair_setup", "dataset.pair")
)


class NetworkRegistrar:
    """
    Register frames with a network: from its own weights each time, from the adapted
    weights of the pair before (`carry`), or with one set of weights that all pairs of
    the sequence were adapted to together (`fit_together`).

    A `Registrar` of two files does the work, so frames are brought to the network's
    grid, scaled and adapted to as pairs of files are. Frames lie on one grid and are
    not aligned before: voxel lies on voxel, whatever `align` the run was trained with.

    Example::

        registrar = NetworkRegistrar("logs/first", adapt_steps=20)
        pairs = list(track(sequence, registrar))
    """

    def __init__(
        self,
        ckpt_path: str | None,
        config_path: Sequence[str] = (),
        *,
        adapt_steps: int | None = None,
        adapt_seconds: float | None = None,
        keep: Literal["best", "last"] = "best",
        carry: bool = False,
        config: RunConfig | None = None,
    ) -> None:
        """
        :param ckpt_path: checkpoint, or folder of a run; None without a network, with a
            `config` of `classical.common_config`.
        :param config_path: YAML files instead of the one saved with the run.
        :param adapt_steps: updates for each pair; None follows the run's `adapt.steps`.
        :param adapt_seconds: as many updates as fit into this time instead.
        :param keep: best, the weights with the least loss, or last.
        :param carry: keep the adapted weights of a pair for the next one.
        :param config: the configuration itself, in place of files.
        :raises FileNotFoundError: for a missing checkpoint.
        :raises ValueError: for a configuration that is missing or wrong.
        """
        self.registrar = Registrar(ckpt_path, config_path, config)
        self._steps, self._seconds = adapt_steps, adapt_seconds
        self._keep: Literal["best", "last"] = keep
        self._carry = carry
        self._fitted: dict[tuple, tuple[NDArray[np.float32], float]] = {}
        # methods of DeepReg lay voxel on voxel as they are
        self._initial = "center" if self.registrar.config.is_reptile else "config"
        self._has_told = False
        self.seconds = 0.0  # of adaptation and prediction of the last pair

    @property
    def steps(self) -> int | tuple[int, ...] | None:
        """Updates for each pair, of several scales at each; None for a time."""
        if self._seconds is not None:
            return None
        own = self.registrar.config.adapt.steps
        return own if self._steps is None else self._steps

    @property
    def changes_weights(self) -> bool:
        """Whether there are updates of the network, whose weights can be carried on."""
        steps = self.steps
        return steps is None or any([steps] if isinstance(steps, int) else steps)

    @property
    def checkpoint(self) -> str:
        """Path of the checkpoint; "" without a network."""
        return self.registrar.checkpoint

    def dump_config(self, folder: Path) -> None:
        """
        Write the configuration of the run, with the updates that are asked for.

        :param folder: to write to, as `config.yaml`.
        """
        config = self.registrar.config
        tuner = FineTune.of(config.adapt, self._steps, self._seconds, self._keep)
        tuner.dump_config(config, self.checkpoint, folder / "config.yaml")

    def check(self, sequence: FrameSequence) -> None:
        """
        Refuse a sequence of another number of axes than the network's images have.

        :param sequence: the frames.
        :raises ValueError: naming the sequence's first file and the network's shape.
        """
        path = str(sequence.paths[0]) if sequence.paths else "sequence"
        shape = self.registrar.config.dataset.fixed_shape
        # a volume of one slice is 2-D+t, (X, Y, 1, T)
        is_planar = sequence.layout != "volume" or sequence.grid.shape[2] == 1
        for problem in check_num_axes(sequence.images[0], path, shape, is_planar):
            raise ValueError(problem)

    def fit_together(self, pairs: Sequence[tuple[Frame, Frame]]) -> None:
        """
        Adapt to all pairs of a sequence together; `register_frames` then looks up.

        :param pairs: the fixed and the moving frame of each.
        :raises ValueError: as `Registrar.register_together` does.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._told_once())
            files = []
            for frames in pairs:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                sides = [Path(folder) / name for name in ("fixed", "moving")]
                for side in sides:
                    side.mkdir()
                own = [_files(*x) for x in zip(sides, frames, strict=True)]
                files.append((own[0], own[1]))
            found = self.registrar.register_together(
                files,
                adapt_steps=self._steps,
                adapt_seconds=self._seconds,
                keep=self._keep,
                initial=self._initial,
            )
        self._fitted = {
            _key(*frames): (_in_voxels(pair), pair.result.seconds)
            for frames, pair in zip(pairs, found, strict=True)
        }

    def register_frames(
        self, fixed: Frame, moving: Frame, carry: bool = False
    ) -> NDArray[np.float32]:
        """
        Adapt to two frames and register them.

        :param fixed: the frame on whose grid the field lies.
        :param moving: the other one; the loss looks within the masks of both.
        :param carry: go on from the adapted weights of the pair before; of a registrar
            that keeps them.
        :return: ddf, (d1, d2, d3, 3), voxels.
        :raises ValueError: for frames that the run cannot register, or that were not
            among those of `fit_together`.
        """
        if self._fitted:
            key = _key(fixed, moving)
            if key not in self._fitted:
                raise ValueError(
                    f"frames {fixed.index} and {moving.index}: expected a pair that "
                    "the network was adapted to by `fit_together`, got another one."
                )
            ddf, self.seconds = self._fitted[key]
            return ddf
        if self._carry and not carry:
            self.registrar.forget_pair()
        with tempfile.TemporaryDirectory() as folder, self._told_once():
            sides = [_files(Path(folder), frame) for frame in (fixed, moving)]
            pair = self.registrar.register(
                *sides,
                adapt_steps=self._steps,
                adapt_seconds=self._seconds,
                keep=self._keep,
                initial=self._initial,
                carry=self._carry,
            )
        self.seconds = pair.result.seconds
        return _in_voxels(pair)

    @contextlib.contextmanager
    def _told_once(self) -> Iterator[None]:
        """Hold back what has been told of the first pair; errors are raised anyway."""
        levels = [logger.level for logger in _TOLD_ONCE]
        if self._has_told:
            for logger in _TOLD_ONCE:
                logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(_TOLD_ONCE, levels, strict=True):
                logger.setLevel(level)
        self._has_told = True


def _key(fixed: Frame, moving: Frame) -> tuple:
    """Tell pairs of frames apart, of other sequences too."""
    images = [zlib.crc32(frame.image.tobytes()) for frame in (fixed, moving)]
    return fixed.index, moving.index, *images


def _in_voxels(pair: RegisteredPair) -> NDArray[np.float32]:
    """Return the field of a pair in voxels of its fixed image."""
    # of the file, as it was read: where one states no place, ours may differ
    grid = pair.result.case.fixed_source.grid
    vectors = pair.transform.as_field(grid).vectors
    ddf = vectors @ np.linalg.inv(grid.affine[:3, :3]).T
    ddf[..., np.array(grid.shape) == 1] = 0.0
    return ddf.astype(np.float32)


def _files(folder: Path, frame: Frame) -> PairFiles:
    """Return the files of a frame; what has none of its own is written to a folder."""
    image = frame.path
    if image is None:
        image = folder / f"frame_{frame.index:03d}.nii"
        _save(image, frame.image, frame)
    if frame.mask is None:
        return PairFiles(image)
    mask = folder / f"mask_{frame.index:03d}.nii"
    _save(mask, frame.mask, frame)
    return PairFiles(image, mask=mask)


def _save(path: Path, voxels: NDArray, frame: Frame) -> None:
    """Write a frame with its place in space, if it has one."""
    is_planar = frame.layout != "volume"
    if frame.has_orientation:
        save_volume(path, voxels, frame.grid.affine, is_planar)
        return
    values = voxels[:, :, 0] if is_planar else voxels
    kind = np.uint8 if values.dtype == bool else values.dtype
    image = nib.Nifti1Image(values.astype(kind), None)
    image.header.set_zooms(frame.grid.spacing_mm[: values.ndim])
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
