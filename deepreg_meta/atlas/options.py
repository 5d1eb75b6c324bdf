"""How images are segmented by atlases."""

from dataclasses import dataclass, field
from typing import Literal

from deepreg_meta.atlas.fuse import Fusion
from deepreg_meta.atlas.similarity import MEASURES, Measure


@dataclass(frozen=True)
class Options:
    """
    How images are segmented.

    :param num_atlases: how many of them; None is 5 at most, or all that are named for a
        target.
    :param select: what they are chosen by, see `similarity`.
    :param fusion: how their labels are fused.
    :param interpolation: of labels: linear, each structure by itself, the largest share
        wins; or nearest.
    :param adapt_steps: updates for each atlas, see `Registrar.register`.
    :param adapt_seconds: time for updates instead.
    :param keep: the weights that register.
    :param initial: how images lie before the network.
    :param allow_self: let the target's own file be an atlas, too.
    :param num_templates: how many of the images without labels that are given; None is
        4, or all if there are fewer.
    """

    num_atlases: int | None = None
    select: Measure = "ncc"
    fusion: Fusion = field(default_factory=Fusion)
    interpolation: Literal["linear", "nearest"] = "linear"
    adapt_steps: int | None = None
    adapt_seconds: float | None = None
    keep: Literal["best", "last"] = "best"
    initial: str = "config"
    allow_self: bool = False
    num_templates: int | None = None

    def __post_init__(self) -> None:
        """:raises ValueError: for another measure."""
        if self.select not in MEASURES:
            raise ValueError(
                f"--select: expected one of {', '.join(MEASURES)}, got {self.select!r}."
            )

    def describe(self, num_atlases: int, num_templates: int = 0) -> str:
        """
        Say what was done.

        :param num_atlases: how many there were.
        :param num_templates: how many images their labels went through as well.
        """
        fusion, more = self.fusion, ""
        if fusion.method in ("weighted", "joint"):
            more = f", beta {fusion.beta:g}"
            more += f", alpha {fusion.alpha:g}" if fusion.method == "joint" else ""
            if fusion.uses_patches:
                more += f", patch radius {fusion.patch_radius}"
                more += f", search radius {fusion.search_radius}"
            else:
                more += ", global weights"
        is_fused = num_atlases > 1 or num_templates > 0
        fused = f", labels fused by `{fusion.method}`{more}" if is_fused else ""
        atlases = "1 atlas" if num_atlases == 1 else f"{num_atlases} atlases"
        if num_templates:
            ending = "" if num_templates == 1 else "s"
            atlases += f", directly and through {num_templates} template{ending}"
        return f"{atlases}, ordered by `{self.select}`{fused}."
