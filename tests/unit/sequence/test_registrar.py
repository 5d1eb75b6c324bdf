"""Tests of deepreg_meta/sequence/registrar.py."""

from deepreg_meta.sequence.registrar import carry_arguments, takes_carry
from tests.unit.sequence.examples import Carrying, Known


def test_carry_is_handed_to_those_that_take_it():
    plain, carrying = Known(lambda *_: None), Carrying(lambda *_: None)
    assert takes_carry(carrying) and not takes_carry(plain)
    assert carry_arguments(carrying, True) == {"carry": True}
    assert carry_arguments(carrying, False) == {"carry": False}
    assert carry_arguments(plain, True) == {}
