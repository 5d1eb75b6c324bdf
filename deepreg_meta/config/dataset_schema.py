"""The section `dataset` as frozen models: one field per YAML key."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from deepreg_meta.config.preprocessing import (
    SPACING_RULE,
    GridConfig,
    IntensityConfig,
    SpacingConfig,
)
from deepreg_meta.config.section import DeepRegSection, Section
from deepreg_meta.config.section import PositiveInt as _PositiveInt
from deepreg_meta.config.section import as_tuple as _as_tuple
from deepreg_meta.config.section import rule as _rule

MODES = ("train", "valid", "test")
# The keys of `dataset` that give the network's grids, by type of data: the first key is
# for the moving images, the last one for the fixed.
SHAPE_KEYS: dict[str, tuple[str, ...]] = {
    "paired": ("moving_image_shape", "fixed_image_shape"),
    "unpaired": ("image_shape",),
    "grouped": ("image_shape",),
}


def _as_folders(value: Any) -> Any:
    """One folder, several or none (DeepReg takes "" for none) as a tuple or None."""
    if value is None or value == "" or value == []:
        return None
    folders = [value] if isinstance(value, str) else value
    if not isinstance(folders, (list, tuple)):
        return value
    return tuple(
        str(Path(f).expanduser()) if f and isinstance(f, str) else f for f in folders
    )


def _as_shape(value: Any) -> Any:
    """Two sides are those of a 2-D image: a volume of one slice."""
    value = _as_tuple(value)
    return (*value, 1) if isinstance(value, tuple) and len(value) == 2 else value


_Shape = Annotated[
    tuple[_PositiveInt, _PositiveInt, _PositiveInt], BeforeValidator(_as_shape)
]


_Folders = Annotated[tuple[str, ...] | None, BeforeValidator(_as_folders)]


_SHAPE_RULE = "three integers >= 1, of 2-D images two"


class PhantomConfig(Section):
    """`dataset.phantom`: the generated cases used where no folder is given."""

    seed: int = _rule("an integer >= 0", default=0, ge=0)
    num_train: int = _rule("an integer >= 2", default=12, ge=2)
    num_valid: int = _rule("an integer >= 0", default=2, ge=0)
    num_test: int = _rule("an integer >= 0", default=6, ge=0)


class DirConfig(Section):
    """`dataset.dir`: the folders of each split, ~ expanded."""

    train: _Folders = _rule("a folder, a list of folders or null", default=None)
    valid: _Folders = _rule("a folder, a list of folders or null", default=None)
    test: _Folders = _rule("a folder, a list of folders or null", default=None)


class DatasetConfig(DeepRegSection):
    """`dataset`: DeepReg's keys and ours (`OUR_DATASET_KEYS` in `run.py`)."""

    type: Literal["paired", "unpaired", "grouped"] = _rule(
        "paired, unpaired or grouped"
    )
    format: Literal["nifti", "h5", "png"] = _rule("nifti, h5 or png")
    dir: DirConfig = _rule(
        "a mapping with the keys train, valid and test", default=DirConfig()
    )
    labeled: bool = _rule("true or false", default=False)
    moving_image_shape: _Shape | None = _rule(_SHAPE_RULE, default=None)
    fixed_image_shape: _Shape | None = _rule(_SHAPE_RULE, default=None)
    image_shape: _Shape | None = _rule(_SHAPE_RULE, default=None)
    phantom: PhantomConfig | None = _rule("null or a mapping", default=None)
    labels: dict[str, _PositiveInt] | None = _rule(
        "null or a mapping of label names to the integers >= 1 of the label files",
        default=None, min_length=1,
    )  # fmt: skip
    spacing_mm: SpacingConfig | None = _rule(SPACING_RULE, default=None)
    grid: GridConfig = _rule(
        "a mapping with spacing_mm, fit, padding, orientation", default=GridConfig()
    )
    intensity: IntensityConfig | None = _rule(
        "null, a list of steps, or a mapping with moving and fixed", default=None
    )
    cache_gb: float = _rule("a number >= 0", default=4.0, ge=0)
    domains: dict[str, Any] | None = _rule(
        "null or a mapping of names to keys of `dataset`", default=None, min_length=1
    )

    @property
    def moving_shape(self) -> tuple[int, int, int]:
        """Sides of the moving images as the network sees them."""
        return self._shape(SHAPE_KEYS[self.type][0])

    @property
    def fixed_shape(self) -> tuple[int, int, int]:
        """Sides of the fixed images as the network sees them."""
        return self._shape(SHAPE_KEYS[self.type][-1])

    def _shape(self, name: str) -> tuple[int, int, int]:
        """Return a shape, which `rules.py` has found to be there."""
        shape = getattr(self, name)
        if shape is None:
            raise RuntimeError(f"dataset.{name} was read before it was checked.")
        return shape

    @property
    def volume_kinds(self) -> tuple[str, ...]:
        """The kinds of files in a split, as DeepReg calls their folders."""
        kinds: tuple[str, ...] = ("images",)
        if self.type == "paired":
            kinds = ("moving_images", "fixed_images")
        labels = tuple(kind.replace("image", "label") for kind in kinds)
        return kinds + labels if self.labeled else kinds

    def folders(self, mode: str) -> tuple[str, ...]:
        """
        Name the folders of one split.

        :param mode: train, valid or test.
        :return: paths, ~ expanded; empty where the split is not given.
        """
        return getattr(self.dir, mode) or ()


class DomainConfig(DatasetConfig):
    """One of `dataset.domains`: its own `dataset`, and how often it is drawn."""

    weight: float = _rule("a number > 0", default=1.0, gt=0)
