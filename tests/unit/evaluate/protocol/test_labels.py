"""Values and messages of deepreg_meta.evaluate.protocol.labels."""

from pathlib import Path

import numpy as np

from deepreg_meta.evaluate.protocol.labels import absent_values
from deepreg_meta.evaluate.protocol.pairs import Pair

VOLUMES = {
    "f": np.array([[0, 1.0, np.nan]]),
    "m": np.array([[0, 4.0, 2.5]]),  # no value between whole numbers is a structure
}
PAIR = Pair("one", (Path("a"), Path("b")), (), labels=(Path("f"), Path("m")))


def read(path):
    if path.name not in VOLUMES:
        raise ValueError("cannot be read")
    return VOLUMES[path.name]


def test_values_that_either_image_of_a_pair_holds_are_accepted():
    assert absent_values((1, 4), [PAIR], read) == []
    assert absent_values((), [PAIR], read) == []


def test_values_that_no_label_holds_are_named_with_those_there_are():
    (text,) = absent_values((4, 9, 2, 0), [PAIR], read)
    assert "which are 1, 4; got 0, 2, 9, in no label of any pair" in text


def test_a_label_that_cannot_be_read_may_hold_the_value():
    other = Pair("two", PAIR.images, (), labels=(Path("f"), Path("broken")))
    assert absent_values((9,), [PAIR, other], read) == []
