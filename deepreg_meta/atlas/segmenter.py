"""Segment images by registering atlases to them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.atlas.files import single
from deepreg_meta.atlas.fuse import fuse
from deepreg_meta.atlas.label_map import read_label_map
from deepreg_meta.atlas.options import Options
from deepreg_meta.atlas.result import Segmentation, TargetImage, WarpedAtlas
from deepreg_meta.atlas.select import DEFAULT_NUMBER, Ranked, candidates, rank
from deepreg_meta.atlas.view import NetworkView
from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.checkpoint_path import training_data
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.image_folder import ImageFiles
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.soft_label import resample_soft
from deepreg_meta.geometry.transform import Transform
from deepreg_meta.pair_setup import check_can_adapt, pair_config
from deepreg_meta.results.scene import own_spacing

if TYPE_CHECKING:
    from deepreg_meta.registration import Registrar


class Segmenter:
    """
    Segment image after image by one network and one set of atlases.

    Example::

        segmenter = Segmenter(Registrar("logs/first"), atlases)
        for target in targets:
            segmenter.segment(target).save(f"segmented/{target.name}")

    :param registrar: registers atlases; labels are never given to it.
    :param atlases: images with their labels, index maps.
    :param options: None is the default.
    """

    def __init__(
        self,
        registrar: "Registrar",
        atlases: Sequence[ImageFiles],
        options: Options | None = None,
    ) -> None:
        """:raises ValueError: where the run cannot do without labels of the target."""
        self.options = options or Options()
        self._registrar, self._atlases = registrar, list(atlases)
        self._check_run()
        config = registrar.config
        description = training_data(registrar.checkpoint)
        self._view = NetworkView(config, self.options.initial, description)
        labels = config.dataset.labels or {}
        self._names = {value: name for name, value in labels.items()}

    def _check_run(self) -> None:
        """Refuse a run that aligns or adapts by labels alone."""
        options, config = self.options, self._registrar.config
        mode = config.align.mode
        if options.initial == "config" and mode in ("centroid", "sections"):
            raise ValueError(
                f"--initial: the run aligns by {mode!r}, which needs labels of both "
                "images, and the image to be segmented has none. Use --initial center, "
                "header, mass or a file."
            )
        own = options.adapt_steps, options.adapt_seconds, options.keep
        tuner = FineTune.of(config.adapt, *own)
        unlabeled = pair_config(config, options.initial, labeled=False)
        try:
            check_can_adapt(unlabeled, tuner)
        except ValueError as err:
            raise ValueError(
                "--adapt-steps: the run's loss compares labels alone, and the image to "
                "be segmented has none. Use --adapt-steps 0, or a run with an image "
                "loss."
            ) from err

    def candidates(
        self, target: ImageFiles, named: Sequence[ImageFiles] | None = None
    ) -> tuple[list[ImageFiles], int]:
        """
        Say which atlases a target may have, and how many of them it gets.

        :param target: the image.
        :param named: atlases that are meant for it; None for all.
        :raises ValueError: when there are too few.
        """
        wanted = self.options.num_atlases
        if named is None:
            wanted = DEFAULT_NUMBER if wanted is None else wanted
        atlases = self._atlases if named is None else named
        return candidates(target, atlases, wanted, self.options.allow_self)

    def choose(
        self, target: ImageFiles, named: Sequence[ImageFiles] | None = None
    ) -> list[Ranked]:
        """
        Choose the atlases of a target by their similarity before registration.

        :param target: the image.
        :param named: atlases that are meant for it; None for all.
        :return: the most similar one first.
        :raises ValueError: when there are too few, or for files that cannot be used.
        """
        atlases, wanted = self.candidates(target, named)

        def measure(atlas: ImageFiles) -> float:
            case = self._view.case(target.image, atlas.image)
            start = self._view.start(case)
            return self._view.similarity(case, start, self.options.select)

        return rank(atlases, wanted, measure)

    def segment(
        self,
        target: ImageFiles,
        named: Sequence[ImageFiles] | None = None,
        on_atlas: Callable[[], object] | None = None,
    ) -> Segmentation:
        """
        Segment an image.

        :param target: the image; a label beside it is for scores alone.
        :param named: atlases that are meant for it; None for all.
        :param on_atlas: called when an atlas has been registered.
        :return: labels and scores, nothing written yet.
        :raises ValueError: for files that cannot be used.
        """
        truth = None if target.label is None else read_label_map(target)
        atlases, images = [], []
        for ranked in self.choose(target, named):
            case = self._view.case(target.image, ranked.files.image)
            warped, transform = self._register(case, ranked)
            atlases.append(warped)
            if self.options.fusion.uses_patches:
                images.append(self._view.warped(case, transform))
            if on_atlas is not None:
                on_atlas()
        shown = self._view.target(case) if images else None
        labels = fuse(
            np.stack([own.labels for own in atlases]),
            self.options.fusion,
            np.stack(images) if images else None,
            shown,
            [own.after for own in atlases],
        )
        return Segmentation(
            _describe_target(case, target, truth),
            labels,
            tuple(atlases),
            self._names,
            self.options.describe(len(atlases)),
        )

    def _register(self, case: Case, ranked: Ranked) -> tuple[WarpedAtlas, Transform]:
        """Register an atlas and warp its labels."""
        options, files = self.options, ranked.files
        voxels = read_label_map(files)
        pair = self._registrar.register(
            case.fixed_source.path,
            case.moving_source.path,
            adapt_steps=options.adapt_steps,
            adapt_seconds=options.adapt_seconds,
            keep=options.keep,
            initial=options.initial,
        )
        grids = case.moving_source.grid, case.fixed_source.grid
        if options.interpolation == "linear":
            labels = resample_soft(voxels, *grids, pair.transform)
        else:
            labels = resample(voxels, *grids, pair.transform, "nearest")
        warped = WarpedAtlas(
            files=files,
            labels=labels,
            before=ranked.similarity,
            after=self._view.similarity(case, pair.transform, options.select),
            seconds=float(pair.scores["seconds"]),
            warning="; ".join(pair.warnings),
        )
        return warped, pair.transform


def segment(
    registrar: "Registrar",
    target: str | Path | ImageFiles,
    atlases: Sequence[ImageFiles],
    options: Options | None = None,
) -> Segmentation:
    """
    Segment one image; for several, `Segmenter` reads the atlases once.

    :param registrar: registers atlases.
    :param target: the image, or the image with true labels for scores.
    :param atlases: images with their labels, see `find_files`.
    :param options: None is the default.
    :return: labels and scores, nothing written yet.
    :raises ValueError: for files that cannot be used.
    """
    files = target if isinstance(target, ImageFiles) else single(target)
    return Segmenter(registrar, atlases, options).segment(files)


def _describe_target(
    case: Case, files: ImageFiles, truth: NDArray | None
) -> TargetImage:
    """Collect what is known of the image that is segmented."""
    own = case.fixed_source
    return TargetImage(
        files=files,
        image=own.read()[0],
        truth=truth,
        spacing=own_spacing(own.grid, case.fixed_grid, case.fixed_spacing_mm),
        unit="voxels" if case.spacing_is_nominal else "mm",
        display=case.display,
    )
