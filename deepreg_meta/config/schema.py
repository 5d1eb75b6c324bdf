"""
The sections of a configuration as frozen models: one field per YAML key, its rule in
words beside its type, its default. What reads files and what compares sections with
each other is in `load.py` and `rules.py`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from deepreg_meta.config.preprocessing import (
    SPACING_RULE,
    GridConfig,
    IntensityConfig,
    SpacingConfig,
)
from deepreg_meta.config.scales import (
    SCALES_RULE,
    AdaptScales,
    PlateauConfig,
    TrainScales,
)
from deepreg_meta.config.section import DeepRegSection, RuleError, Section
from deepreg_meta.config.section import PositiveInt as _PositiveInt
from deepreg_meta.config.section import as_tuple as _as_tuple
from deepreg_meta.config.section import rule as _rule

# The optimisers of legacy Keras: listed here, so that a misspelt name is found before
# TensorFlow is imported.
OPTIMIZERS = (
    *("SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam"),
    "AdamW",
)
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


def _as_frames(value: Any) -> Any:
    value = _as_tuple(value)
    if isinstance(value, tuple) and len(value) == 2:
        low, high = value
        if isinstance(low, int) and isinstance(high, int) and low > high:
            raise ValueError("F_min > F_max")
    return value


_Frames = Annotated[tuple[_PositiveInt, _PositiveInt], BeforeValidator(_as_frames)]
_FRAMES_RULE = "two integers [F_min, F_max] with 1 <= F_min <= F_max"
_SHAPE_RULE = "three integers >= 1, of 2-D images two"


def _check_optimizer(name: str) -> str:
    if name not in OPTIMIZERS:
        raise ValueError("unknown optimizer")
    return name


class OptimizerConfig(DeepRegSection):
    """`train.optimizer` and `adapt.optimizer`: name, rate, further Keras arguments."""

    name: Annotated[str, AfterValidator(_check_optimizer)] = _rule(
        f"one of {', '.join(OPTIMIZERS)}", choices=OPTIMIZERS
    )
    learning_rate: float = _rule("a number > 0, such as 1.0e-3", gt=0)


class MetaConfig(Section):
    """`train.meta`: Reptile, the outer loop and its inner steps."""

    base: str = _rule(
        "the name of a registered DeepReg model (ddf, dvf, ...)", default="ddf",
        min_length=1,
    )  # fmt: skip
    inner_steps: int = _rule(
        "an integer >= 1", default=10, ge=1,
        fix="Use `train.method: ddf` to train without meta-learning.",
    )  # fmt: skip
    task: Literal["pair", "domain"] = _rule("pair or domain", default="pair")
    resample_each_step: bool | None = _rule(
        "null (true for task: domain), true or false", default=None
    )
    tasks_per_step: int = _rule("an integer >= 1", default=1, ge=1)
    meta_step_size: float = _rule("a number in (0, 1]", default=0.5, gt=0, le=1)
    meta_step_size_end: float = _rule(
        "a number in [0, meta_step_size]", default=1.0e-5, ge=0, le=1
    )
    iterate: Literal["last", "average"] = _rule("last or average", default="last")
    inner_optimizer_state: Literal["reset", "carry"] = _rule(
        "reset or carry", default="reset"
    )
    episodes_per_epoch: int | None = _rule(
        "null (every training case once) or an integer >= 1", default=None, ge=1
    )
    update: Literal["reptile", "fomaml"] = _rule("reptile or fomaml", default="reptile")
    outer_optimizer: OptimizerConfig | None = _rule(
        "null (part of the way) or a mapping with name and learning_rate", default=None
    )

    @model_validator(mode="after")
    def _check(self) -> "MetaConfig":
        if self.task == "pair" and self.resample_each_step is not None:
            raise RuleError(
                "resample_each_step: null with task: pair, whose inner steps share one "
                "pair"
            )
        if self.update == "fomaml" and self.outer_optimizer is None:
            raise RuleError(
                "an outer_optimizer with update: fomaml, whose gradient needs one"
            )
        if self.update == "fomaml" and self.iterate == "average":
            raise RuleError("iterate: last with update: fomaml")
        return self

    @property
    def resamples(self) -> bool:
        """Whether every inner step draws pairs of its own."""
        return self.task == "domain" and self.resample_each_step is not False


class SparseFramesConfig(Section):
    """The augmentation `sparse_frames`: how many frames of the fixed image are kept."""

    name: Literal["sparse_frames"] = "sparse_frames"
    frames: _Frames = _rule(_FRAMES_RULE)
    axis: int = _rule("0, 1 or 2, the axis across the frames", ge=0, le=2)
    reverse: bool = _rule(
        "true or false (true sweeps from the high index to the low)", default=False
    )


class AlignConfig(Section):
    """`align`: how the moving grid lies on the fixed one; a bare mode is enough."""

    mode: Literal["corner", "center", "affine", "centroid", "sections"] = _rule(
        "corner, center, affine, centroid or sections", default="center"
    )
    label: int = _rule(
        "an integer >= 0, the label channel of the centroid", default=0, ge=0
    )

    @model_validator(mode="before")
    @classmethod
    def _from_bare_mode(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"mode": data}


def _check_steps(steps: Any) -> Any:
    numbers = steps if isinstance(steps, tuple) else (steps,)
    if not numbers or min(numbers) < 0:
        raise ValueError("a negative number, or none at all")
    return steps


_Steps = Annotated[
    int | tuple[int, ...], BeforeValidator(_as_tuple), AfterValidator(_check_steps)
]


def _check_epochs(epochs: Any) -> Any:
    if isinstance(epochs, tuple) and (
        not epochs or list(epochs) != sorted(set(epochs))
    ):
        raise ValueError("no rising order, or none at all")
    return epochs


class FieldConfig(Section):
    """`adapt.field`: after the network, the field itself is fitted to the pair."""

    scales: TrainScales = _rule(SCALES_RULE, default=(0.5, 1.0))
    steps: _Steps = _rule(
        "an integer >= 0, the number of updates, or a list of them, one for each scale",
        default=40,
    )
    sigma_vox: float = _rule(
        "a number >= 0, in voxels of each scale's grid", default=2.0, ge=0
    )
    optimizer: OptimizerConfig = _rule(
        "a mapping with name and learning_rate",
        default=OptimizerConfig(name="Adam", learning_rate=0.25),
    )
    loss: dict[str, Any] | None = _rule(
        "null (train.loss) or a mapping that is merged into it", default=None
    )

    @model_validator(mode="after")
    def _check(self) -> "FieldConfig":
        count = len(self.scales or ())
        if not count:
            raise RuleError("a list of scales")
        if not isinstance(self.steps, int) and len(self.steps) != count:
            raise RuleError(f"one integer or {count} as steps, one for each of scales")
        return self

    @property
    def all_steps(self) -> tuple[int, ...]:
        """The updates of each scale."""
        steps = self.steps
        count = len(self.scales or ())
        return (steps,) * count if isinstance(steps, int) else steps


class AdaptConfig(Section):
    """`adapt`: adaptation at test time. A null is filled in by `RunConfig`."""

    steps: _Steps = _rule(
        "an integer >= 0, the number of updates, or a list of them, one for each scale",
        default=0,
    )
    scales: AdaptScales = _rule(SCALES_RULE, default=None)
    scale_start: Literal["previous", "own"] = _rule(
        "previous or own", default="previous"
    )
    plateau: PlateauConfig | None = _rule(
        "null or a mapping with patience and min_delta", default=None
    )
    optimizer: OptimizerConfig | None = _rule(
        "null (that of train.optimizer) or a mapping with name and learning_rate",
        default=None,
    )
    labels: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_as_tuple)
    ] = _rule("a list of label channels, integers >= 0", default=(0,))
    frames: _Frames | None = _rule(
        f"null (those of sparse_frames) or {_FRAMES_RULE}", default=None
    )
    layers: Literal["all", "decoder", "heads"] = _rule(
        "all, decoder or heads", default="all"
    )
    schedule: Literal["sweep", "all"] = _rule("sweep or all", default="sweep")
    keep: Literal["last", "best"] = _rule("last or best", default="last")
    field: FieldConfig | None = _rule(
        "null or a mapping with scales, steps, sigma_vox, optimizer, loss", default=None
    )

    @property
    def adapts(self) -> bool:
        """Whether any update is taken."""
        steps = (self.steps,) if isinstance(self.steps, int) else self.steps
        return any([*steps, *self.field_steps])

    @property
    def field_steps(self) -> tuple[int, ...]:
        """The updates of the field at each scale; none without `adapt.field`."""
        return () if self.field is None else self.field.all_steps


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
        "a mapping with spacing_mm, fit, orientation", default=GridConfig()
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


class BackboneConfig(DeepRegSection):
    """`train.backbone`: the name; the rest belongs to the backbone."""

    name: str = _rule("the name of a registered backbone", min_length=1)
    num_channel_initial: int | None = _rule("an integer >= 1", default=None, ge=1)


class LossTermConfig(DeepRegSection):
    """One of `train.loss`: name and weight; the rest belongs to the loss."""

    name: str = _rule("the name of a registered loss", min_length=1)
    weight: float = _rule("a number >= 0", default=1.0, ge=0)


class LossConfig(DeepRegSection):
    """`train.loss`: a term that is absent is not used."""

    image: LossTermConfig | None = _rule("a mapping with name, weight", default=None)
    label: LossTermConfig | None = _rule("a mapping with name, weight", default=None)
    regularization: LossTermConfig | None = _rule(
        "a mapping with name, weight", default=None
    )


class PreprocessConfig(DeepRegSection):
    """`train.preprocess`; without `data_augmentation` nothing is augmented."""

    batch_size: int = _rule("an integer >= 1", default=1, ge=1)
    shuffle_buffer_num_batch: int = _rule("an integer >= 0", default=1, ge=0)
    data_augmentation: dict[str, Any] | list[dict[str, Any]] | None = _rule(
        "null, a mapping with name, or a list of such mappings", default=None
    )


class TrainConfig(DeepRegSection):
    """`train` of a run with method reptile."""

    method: str = _rule("the name of a method (reptile, ddf, dvf, ...)", min_length=1)
    seed: int = _rule("an integer >= 0", default=0, ge=0)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = _rule(
        "float32, mixed_bfloat16 or mixed_float16", default="float32"
    )
    recompute: bool = _rule(
        "true or false (true saves memory and costs time)", default=False
    )
    scales: TrainScales = _rule(SCALES_RULE, default=None)
    meta: MetaConfig = _rule("a mapping", default=MetaConfig())
    backbone: BackboneConfig = _rule("a mapping with name")
    loss: LossConfig = _rule("a mapping with image, label, regularization")
    optimizer: OptimizerConfig = _rule("a mapping with name and learning_rate")
    preprocess: PreprocessConfig = _rule("a mapping", default=PreprocessConfig())
    epochs: int = _rule("an integer >= 0; 0 saves the weights as they are drawn", ge=0)
    save_period: Annotated[
        Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=0)], ...],
        BeforeValidator(_as_tuple),
        AfterValidator(_check_epochs),
    ] = _rule(
        "an integer >= 1, in epochs, or a list of epochs in rising order", default=1
    )

    def saves_after(self, epoch: int) -> bool:
        """
        Return whether weights are saved and validated after an epoch.

        :param epoch: its number, from 1; 0 is before training.
        """
        period = self.save_period
        if isinstance(period, tuple):
            return epoch in period
        return epoch > 0 and epoch % min(period, max(self.epochs, 1)) == 0
