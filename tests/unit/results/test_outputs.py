"""Tests of deepreg_meta/results/outputs.py."""

import pytest

from deepreg_meta.results.outputs import Outputs


def test_the_default_is_all_files_with_an_itk_transform():
    outputs = Outputs()
    assert outputs.volumes and outputs.figure and not outputs.inverse
    assert outputs.formats == ("h5",)


def test_other_formats_are_refused_by_name():
    with pytest.raises(
        ValueError, match="--transform-format: .* h5, nifti, deepreg, .* got mat, npy"
    ):
        Outputs(formats=("mat", "h5", "npy"))


@pytest.mark.parametrize(
    ("wanted", "is_none"),
    [
        ({}, True),
        ({"volumes": True}, False),
        ({"formats": ("nifti",)}, False),
        ({"figure": True}, False),
    ],
)
def test_nothing_is_wanted_where_all_is_declined(wanted, is_none):
    none = dict(volumes=False, formats=(), figure=False)
    assert Outputs(**{**none, **wanted}).is_none is is_none
