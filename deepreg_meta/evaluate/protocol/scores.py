"""What a protocol returns for a pair."""

from dataclasses import dataclass, field

Row = dict[str, object]


@dataclass
class Scores:
    """
    The figures of one pair, by column.

    :param case: of the pair.
    :param labels: one row per structure.
    :param landmarks: one row per landmark.
    """

    case: Row
    labels: list[Row] = field(default_factory=list)
    landmarks: list[Row] = field(default_factory=list)
