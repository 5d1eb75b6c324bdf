"""Track a sequence and write everything that comes out."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tqdm import tqdm

from deepreg_meta.geometry.whole_file import whole_file
from deepreg_meta.results.folder import check_replaceable, whole_folder
from deepreg_meta.sequence.drift import label_drift, point_drift
from deepreg_meta.sequence.job import Job
from deepreg_meta.sequence.measure import measure_pair
from deepreg_meta.sequence.propagate import LabelTrail, PointTrail
from deepreg_meta.sequence.region import region_of
from deepreg_meta.sequence.registrar import FrameRegistrar
from deepreg_meta.sequence.table import TABLE, write_tables
from deepreg_meta.sequence.track import TrackedPair, track
from deepreg_meta.sequence.write import (
    PATTERNS,
    write_pair,
    write_points,
    write_volumes,
)

logger = logging.getLogger(__name__)

_FOLDS = 0.01  # share of voxels, above which a pair is reported


def run_job(
    job: Job,
    registrar: FrameRegistrar,
    folder: str | Path,
    settings: dict[str, Any] | None = None,
    carry: bool = False,
    dump: Callable[[Path], object] | None = None,
) -> str:
    """
    Track a sequence and write fields, velocities, tables, trails and the film.

    Example::

        job = prepare(TrackOptions(["echo.nii.gz"], mask=["wall.nii.gz"]))
        run_job(job, NetworkRegistrar("logs/first", adapt_steps=20), "motion")

    :param job: of `prepare`.
    :param registrar: of two frames.
    :param folder: of the results; there as a whole or not at all; earlier results in it
        are replaced.
    :param settings: of the registrar, for `tracking.json`.
    :param carry: see `track`.
    :param dump: writes further files to the folder that it is given.
    :return: the means over the sequence, as Markdown.
    :raises ValueError: when the folder holds something else, or a pair fails.
    """
    folder = Path(folder).expanduser()
    check_replaceable(folder, "--output", TABLE, PATTERNS)
    with whole_folder(folder) as working:
        text = _Tracking(job, working).run(registrar, carry)
        stated = job.settings() | {"carry": carry} | (settings or {})
        with whole_file(working / "tracking.json") as part:
            part.write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")
        if dump is not None:
            dump(working)
    return text


class _Tracking:
    """One run: each pair is measured and written as it comes, and then let go."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.folder = job, folder
        self.rows: list[dict[str, Any]] = []
        self.drift: list[dict[str, Any]] = []
        grid, given = job.sequence.grid, job.given
        self.labels: list[NDArray] = []
        self.points: list[NDArray] = []
        self._label_trail: LabelTrail | None = None
        self._point_trail: PointTrail | None = None
        if given.label is not None:
            self._label_trail = LabelTrail(given.label, grid)
            self._add_label(0, given.label)
        if given.points is not None:
            self._point_trail = PointTrail(given.points.points, grid)
            self.points.append(given.points.points)

    def run(self, registrar: FrameRegistrar, carry: bool) -> str:
        """:return: the means as Markdown."""
        job = self.job
        pairs = track(job.sequence, registrar, job.options.direction, job.region, carry)
        total = len(job.sequence) - 1
        with tqdm(pairs, "tracking", total, unit="pair", disable=None) as bar:
            for pair in bar:
                self._take(pair)
                bar.set_postfix_str(f"NLCC {self.rows[-1]['nlcc_tracked']:.3f}")
        self._warn_of_folds()
        self._write_trails()
        if job.film is not None:
            job.film.save(self.folder / "motion.gif")
        plural = "s" if total > 1 else ""
        title = f"{total} pair{plural} of {Path(job.options.sequence[0]).name}"
        return write_tables(self.folder, job.sequence, self.rows, self.drift, title)

    def _take(self, pair: TrackedPair) -> None:
        job = self.job
        write_pair(self.folder, pair, job.sequence)
        self.rows.append(
            measure_pair(
                pair,
                job.sequence,
                region_of(job.region, pair.fixed),
                job.options.window_radius,
                job.truth(pair.name),
            )
        )
        if job.film is not None:
            job.film.add(pair)
        self._follow_label(pair)
        self._follow_points(pair)

    def _add_label(self, index: int, label: NDArray) -> None:
        self.labels.append(label)
        if self.job.film is not None:
            self.job.film.add_label(index, label)

    def _follow_label(self, pair: TrackedPair) -> None:
        given, frame = self.job.given, max(pair.fixed, pair.moving)
        if self._label_trail is None or given.label is None:
            return
        label = self._label_trail.advance(pair)
        self._add_label(frame, label)
        known = given.label_at.get(frame)
        if known is not None:
            self.drift += label_drift(frame, given.label, label, known)

    def _follow_points(self, pair: TrackedPair) -> None:
        given, frame = self.job.given, max(pair.fixed, pair.moving)
        if self._point_trail is None or given.points is None:
            return
        points = self._point_trail.advance(pair)
        self.points.append(points)
        known = given.points_at.get(frame)
        if known is not None:
            self.drift += point_drift(frame, given.points, points, known)

    def _write_trails(self) -> None:
        sequence, given = self.job.sequence, self.job.given
        if self.labels:
            write_volumes(self.folder / "label.nii.gz", self.labels, sequence)
        if given.points is not None:
            names = given.points.names
            write_points(self.folder / "points.csv", names, self.points, sequence)

    def _warn_of_folds(self) -> None:
        bad = [row["pair"] for row in self.rows if not row["folds"] <= _FOLDS]
        if bad:
            logger.warning(
                "In %d of %d pairs more than %g %% of the voxels fold, such as %s: see "
                "`folds` in tracking.csv.",
                len(bad),
                len(self.rows),
                100 * _FOLDS,
                ", ".join(bad[:3]),
            )
