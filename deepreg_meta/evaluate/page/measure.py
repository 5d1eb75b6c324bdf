"""What a column of numbers measures: its stage, its unit, and which way is better."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from deepreg_meta.evaluate.columns import (
    BASELINE,
    REGISTERED,
    STAGES,
    UNITS,
    describe_column,
)

# from the poorest to the best that a run offers, as tables list them
STAGE_ORDER = ("before", BASELINE, "unadapted", "adapted", REGISTERED)
_ROUNDING = 1e-12  # a spread below it comes from floating-point arithmetic
_ENDINGS = {ending: unit for unit, ending in UNITS.items()}


class Column(NamedTuple):
    """The parts of a column's name: `tre_adapted_mm` is tre, adapted, mm."""

    metric: str
    stage: str  # "" for a column of no stage, such as `seconds`
    unit: str  # mm, voxels, or "" for what is no length


@dataclass(frozen=True)
class Measure:
    """
    How a metric is named, printed and judged.

    :param metric: the part of the column's name that is no stage and no unit.
    :param label: for readers.
    :param unit: printed behind the label, or "".
    :param higher_is_better: None where neither way is better by itself.
    :param digits: behind the point.
    :param scale: of the printed numbers, 100 for percent.
    """

    metric: str
    label: str
    unit: str = ""
    higher_is_better: bool | None = None
    digits: int = 3
    scale: float = 1.0

    @property
    def title(self) -> str:
        """Label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def format(self, value: float | None) -> str:
        """Print a value, `-` for a missing one."""
        return number(None if value is None else self.scale * value, self.digits)


_KNOWN = (
    Measure("dsc", "Dice", "", True),
    Measure("dsc_off_frames", "Dice off the frames seen", "", True),
    Measure("tre", "Target registration error", "", False, 2),
    Measure("hd95", "95 % Hausdorff distance", "", False, 2),
    Measure("asd", "Average surface distance", "", False, 2),
    Measure("tre_blob", "Distance of warped landmark blobs", "", False, 2),
    Measure("lost", "Landmark blobs lost", "", False, 2),
    Measure("ncc", "Normalised cross-correlation", "", True),
    Measure("lncc", "Local normalised cross-correlation", "", True),
    Measure("mse", "Mean squared difference", "", False, 4),
    Measure("folds", "Folding voxels", "%", False, 3, 100.0),
    Measure("jacobian_min", "Least Jacobian determinant", "", True),
    Measure("jacobian_sd_log", "SD of the log of the Jacobian determinant", "", False),
    Measure("displacement_max", "Largest displacement", "", None, 2),
    Measure("loss", "Loss", "", None, 4),
    Measure("seconds", "Time of a registration", "s", None, 2),
    Measure("cpu_seconds", "CPU time of a registration", "s", None, 2),
    Measure("seconds_per_update", "Time of an update", "s", None, 3),
    Measure("num_updates", "Updates made", "", None, 1),
    Measure("best_step", "Best update", "", None, 1),
    Measure("num_frames", "Frames seen", "", None, 1),
    Measure("num_landmarks", "Landmarks", "", None, 1),
)
_BY_NAME = {known.metric: known for known in _KNOWN}
METRICS = tuple(_BY_NAME)
_OF_FIRST_LABEL = ("dsc", "hd95", "asd")  # of a case


def split_column(name: str) -> Column:
    """
    Take the name of a column apart.

    :param name: such as `dsc_adapted`, `tre_blob_before_vox`, `seconds`.
    :return: metric, stage and unit.
    """
    unit = ""
    for ending, found in _ENDINGS.items():
        if name.endswith(ending):
            name, unit = name.removesuffix(ending), found
    for stage in STAGE_ORDER:
        if name.endswith(f"_{stage}"):
            return Column(name.removesuffix(f"_{stage}"), stage, unit)
    return Column(name, "", unit)


def join_column(column: Column) -> str:
    """
    Put the name of a column together again.

    :param column: of `split_column`.
    :return: such as `tre_adapted_mm`.
    """
    stage = f"_{column.stage}" if column.stage else ""
    ending = UNITS[column.unit] if column.unit else ""
    return f"{column.metric}{stage}{ending}"


def is_measure(name: str) -> bool:
    """Tell whether a column surely holds numbers, by its name."""
    column = split_column(name)
    return bool(column.stage or column.unit) or column.metric in _BY_NAME


def measure_of(metric: str, unit: str = "") -> Measure:
    """
    Say how a metric is printed and judged.

    :param metric: of a `Column`; an unknown one keeps its name, and neither way is
        better.
    :param unit: of a `Column`.
    :return: the measure.
    """
    known = _BY_NAME.get(metric)
    if known is None and metric.startswith("dsc_"):
        known = Measure(metric, f"Dice of {metric.removeprefix('dsc_')}", "", True)
    if known is None:
        known = Measure(metric, metric.replace("_", " "))
    if not unit:
        return known
    # a length of an unknown metric, too, is printed as lengths are
    digits = known.digits if metric in _BY_NAME else 2
    return Measure(metric, known.label, unit, known.higher_is_better, digits)


def case_measure(metric: str, unit: str = "", label: str = "") -> Measure:
    """
    Say how a metric of a whole case is printed and judged.

    :param metric: of a `Column`.
    :param unit: of a `Column`.
    :param label: the first of several labels, which Dice and surface distances of a
        case are of; "" where there is one label.
    :return: the measure, with the label in its name where it is of that label.
    """
    found = measure_of(metric, unit)
    if not label or metric not in _OF_FIRST_LABEL:
        return found
    return replace(found, label=f"{found.label} ({label})")


def is_share(metric: str) -> bool:
    """Tell whether a metric surely lies in [0, 1], as Dice does."""
    return metric == "dsc" or metric.startswith("dsc_")


def sort_key(metric: str) -> tuple[int, str]:
    """Order metrics as reports list them, unknown ones last."""
    names = list(_BY_NAME)
    return (names.index(metric) if metric in _BY_NAME else len(names), metric)


def definition_of(metric: str, unit: str) -> str:
    """
    Look up what a metric is, without the stage.

    :param metric: of a `Column`.
    :param unit: of a `Column`.
    :return: the text of the columns' documentation.
    """
    for stage, meaning in {**STAGES, "": ""}.items():
        try:
            text = describe_column(join_column(Column(metric, stage, unit)))
        except ValueError:
            continue
        return text.replace(f"; {meaning}", "", 1) if stage else text
    return "not documented"


def number(value: float | None, digits: int) -> str:
    """
    Print a number for a table.

    :param value: None and NaN are missing.
    :param digits: behind the point; a number that would be printed as 0 and is none
        keeps two digits that count.
    :return: the number, or `-`.
    """
    if value is None or value != value:
        return "-"
    if _ROUNDING < abs(value) < 0.5 * 10**-digits:
        return f"{value:.2g}"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.5g}"


def p_value(value: float | None) -> str:
    """Print a p value: three digits, or that it is below 0.001."""
    if value is None or value != value:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
