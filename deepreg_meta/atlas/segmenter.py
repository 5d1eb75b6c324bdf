"""Segment images by registering atlases to them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepreg_meta.atlas.files import single
from deepreg_meta.atlas.fuse import fuse
from deepreg_meta.atlas.label_map import read_atlas
from deepreg_meta.atlas.options import Options
from deepreg_meta.atlas.result import Segmentation, TargetImage, WarpedAtlas
from deepreg_meta.atlas.select import (
    DEFAULT_NUMBER,
    Numbers,
    Ranked,
    candidates,
    rank,
    template_candidates,
)
from deepreg_meta.atlas.view import NetworkView
from deepreg_meta.callback.fine_tune import FineTune
from deepreg_meta.dataset.case import Case
from deepreg_meta.dataset.image_folder import ImageFiles
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.soft_label import resample_soft
from deepreg_meta.geometry.transform import Transform
from deepreg_meta.pair_setup import check_can_adapt, pair_config
from deepreg_meta.results.scene import own_spacing

if TYPE_CHECKING:
    from deepreg_meta.registration import Registrar


# a target and the atlases that are meant for it, None for all
Job = tuple[ImageFiles, Sequence[ImageFiles] | None]


class _Found(NamedTuple):
    """What a registration found: fixed to moving space, and how it went."""

    transform: Transform
    seconds: float
    warning: str

    def then(self, other: "_Found") -> "_Found":
        """Go on by another one."""
        warnings = [text for text in (self.warning, other.warning) if text]
        return _Found(
            self.transform.then(other.transform),
            self.seconds + other.seconds,
            "; ".join(warnings),
        )


class _Route(NamedTuple):
    """How labels of an atlas come to a target, "" for no template between them."""

    atlas: Ranked
    template: str
    found: _Found


class Segmenter:
    """
    Segment image after image by one network and one set of atlases.

    With templates, images without labels, the labels of every atlas come to the target
    through each of them as well, by the composed transforms: ways err differently, and
    their votes are better than one of them. M. M. Chakravarty et al., Performing
    label-fusion-based segmentation using multiple automatically generated templates,
    Human Brain Mapping 34(10), 2635-2654, 2013.

    Example::

        segmenter = Segmenter(Registrar("logs/first"), atlases)
        for target in targets:
            segmenter.segment(target).save(f"segmented/{target.name}")

    :param registrar: registers atlases; labels are never given to it.
    :param atlases: images with their labels, index maps.
    :param options: None is the default.
    :param templates: images, whose labels, if there are any, are not looked at.
    """

    def __init__(
        self,
        registrar: "Registrar",
        atlases: Sequence[ImageFiles],
        options: Options | None = None,
        templates: Sequence[ImageFiles] = (),
    ) -> None:
        """:raises ValueError: where the run cannot do without labels of the target."""
        self.options = options or Options()
        self._registrar, self._atlases = registrar, list(atlases)
        self._templates = list(templates)
        self._onward: dict[tuple[Path, Path], _Found] = {}  # templates to atlases
        self._room = registrar.config.dataset.cache_gb * 1e9
        config, own = registrar.config, self.options
        self._tuner = FineTune.of(
            config.adapt, own.adapt_steps, own.adapt_seconds, own.keep
        )
        self._check_run()
        self._view = NetworkView(config, self.options.initial, registrar.description)
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
        unlabeled = pair_config(config, options.initial, labeled=False)
        try:
            check_can_adapt(unlabeled, self._tuner)
        except ValueError as err:
            raise ValueError(
                "--adapt-steps: the run's loss compares labels alone, and the image to "
                "be segmented has none. Use --adapt-steps 0, or a run with an image "
                "loss."
            ) from err

    def dump_config(self, path: Path) -> None:
        """
        Write the configuration of the run, with the updates that are asked for.

        :param path: of the file.
        """
        registrar = self._registrar
        self._tuner.dump_config(registrar.config, registrar.checkpoint, path)

    def candidates(
        self, target: ImageFiles, named: Sequence[ImageFiles] | None = None
    ) -> tuple[list[ImageFiles], int]:
        """
        Say which atlases a target may have, and how many of them it gets.

        :param target: the image.
        :param named: atlases that are meant for it; None for all.
        :raises ValueError: when there are too few.
        """
        wanted, allow_self = self.options.num_atlases, self.options.allow_self
        if named is not None:
            return candidates(target, named, wanted, allow_self)
        return candidates(target, self._atlases, wanted, allow_self, DEFAULT_NUMBER)

    def numbers(
        self, target: ImageFiles, named: Sequence[ImageFiles] | None = None
    ) -> Numbers:
        """
        Say how many atlases and templates a target gets.

        :param target: the image.
        :param named: atlases that are meant for it; None for all.
        :raises ValueError: when there are too few.
        """
        own = self.candidates(target, named), self._template_candidates(target, named)
        return Numbers(*(number for _, number in own))

    def _template_candidates(
        self, target: ImageFiles, named: Sequence[ImageFiles] | None
    ) -> tuple[list[ImageFiles], int]:
        atlases = self._atlases if named is None else named
        wanted = self.options.num_templates
        return template_candidates(target, atlases, self._templates, wanted)

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
        return self._rank(target, *self.candidates(target, named))

    def choose_templates(
        self, target: ImageFiles, named: Sequence[ImageFiles] | None = None
    ) -> list[Ranked]:
        """
        Choose the templates of a target, as `choose` does its atlases.

        :param target: the image.
        :param named: atlases that are meant for it, which are no templates; None for
            all.
        :return: the most similar one first; none where none was given.
        :raises ValueError: when there are too few, or for files that cannot be used.
        """
        return self._rank(target, *self._template_candidates(target, named))

    def _rank(
        self, target: ImageFiles, images: Sequence[ImageFiles], wanted: int
    ) -> list[Ranked]:
        def measure(image: ImageFiles) -> float:
            case = self._view.case(target.image, image.image)
            start = self._view.start(case)
            return self._view.similarity(case, start, self.options.select)

        return rank(images, wanted, measure)

    def check(self, jobs: Sequence[Job]) -> None:
        """
        Read every file once, so that none is refused when others have been segmented.

        :param jobs: images, and the atlases that are meant for each, None for all.
        :raises ValueError: with the problems of all files.
        """
        problems: list[str] = []
        known: set[ImageFiles] = set()
        usable: list[ImageFiles] = []  # what a target without new ones is read beside
        for target, named in jobs:
            atlases = self.candidates(target, named)[0]
            others = [*atlases, *self._template_candidates(target, named)[0]]
            new = [own for own in others if own not in known]
            try:
                if target.label is not None:
                    read_atlas(target)  # scores need a structure
                for files in new or usable or others[:1]:
                    known.add(files)
                    self._view.case(target.image, files.image)
                    usable = [files]
                    if files in new and files in atlases:
                        read_atlas(files)
            except ValueError as err:  # those after it are read beside the next target
                problems.append(str(err).replace("\n", "\n  "))
        if problems:
            texts = "\n  ".join(problems)
            raise ValueError(f"Nothing was segmented:\n  {texts}")

    def segment(
        self,
        target: ImageFiles,
        named: Sequence[ImageFiles] | None = None,
        on_pair: Callable[[], object] | None = None,
    ) -> Segmentation:
        """
        Segment an image.

        :param target: the image; a label beside it is for scores alone.
        :param named: atlases that are meant for it; None for all.
        :param on_pair: called when two images have been registered.
        :return: labels and scores, nothing written yet.
        :raises ValueError: for files that cannot be used.
        """
        truth = None if target.label is None else read_atlas(target)
        chosen = self.choose(target, named)
        templates = self.choose_templates(target, named)
        maps = {own.files: read_atlas(own.files) for own in chosen}
        routes = self._routes(target, chosen, templates, on_pair or (lambda: None))
        atlases, images = [], []
        for route in routes:
            case = self._view.case(target.image, route.atlas.files.image)
            atlases.append(self._warp(case, route, maps[route.atlas.files]))
            if self.options.fusion.uses_patches:
                images.append(self._view.warped(case, route.found.transform))
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
            self.options.describe(len(chosen), len(templates)),
        )

    def _routes(
        self,
        target: ImageFiles,
        atlases: Sequence[Ranked],
        templates: Sequence[Ranked],
        on_pair: Callable[[], object],
    ) -> list[_Route]:
        """Register all that is needed: first the direct routes, then those between."""
        routes = []
        for atlas in atlases:
            routes.append(_Route(atlas, "", self._register(target, atlas.files)))
            on_pair()
        for template in templates:
            first = self._register(target, template.files)
            on_pair()
            for atlas in atlases:
                found = first.then(self._between(template.files, atlas.files))
                # as alike as the template is to the target, not as the atlas is
                ranked = atlas._replace(similarity=template.similarity)
                routes.append(_Route(ranked, template.files.name, found))
                on_pair()
        return routes

    def _between(self, template: ImageFiles, atlas: ImageFiles) -> _Found:
        """Register an atlas to a template; the next target may have both, too."""
        key = template.image, atlas.image
        if key in self._onward:
            return self._onward[key]
        found = self._register(template, atlas)
        if found.transform.nbytes <= self._room:
            self._room -= found.transform.nbytes
            self._onward[key] = found
        return found

    def _register(self, fixed: ImageFiles, moving: ImageFiles) -> _Found:
        """Register two images; their labels are not handed on."""
        options = self.options
        pair = self._registrar.register(
            fixed.image,
            moving.image,
            adapt_steps=options.adapt_steps,
            adapt_seconds=options.adapt_seconds,
            keep=options.keep,
            initial=options.initial,
        )
        warning = "; ".join(pair.warnings)
        return _Found(pair.transform, float(pair.scores["seconds"]), warning)

    def _warp(self, case: Case, route: _Route, voxels: NDArray) -> WarpedAtlas:
        """Bring the labels of an atlas to the target's own grid."""
        files, transform = route.atlas.files, route.found.transform
        grids = case.moving_source.grid, case.fixed_source.grid
        if self.options.interpolation == "linear":
            labels = resample_soft(voxels, *grids, transform)
        else:
            labels = resample(voxels, *grids, transform, "nearest")
        return WarpedAtlas(
            files=files,
            labels=labels,
            before=route.atlas.similarity,
            after=self._view.similarity(case, transform, self.options.select),
            seconds=route.found.seconds,
            warning=route.found.warning,
            template=route.template,
        )


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
