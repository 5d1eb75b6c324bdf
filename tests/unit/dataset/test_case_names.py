"""Tests of deepreg_meta/dataset/case_names.py."""

import pytest

from deepreg_meta.dataset.case_names import unique_names


@pytest.mark.parametrize(
    ("cases", "names"),
    [
        ([("a/x", "c1"), ("a/x", "s/c2")], ["c1", "s_c2"]),
        ([("a/x", "c1"), ("a/y/", "c1"), ("a/y", "c2")], ["x_c1", "y_c1", "c2"]),
        ([("/d/a/test", "c"), ("/d/b/test", "c")], ["a_test_c", "b_test_c"]),
        ([("x/t", "a/b"), ("x/t", "a_b")], ["x_t_a_b_2", "x_t_a_b"]),
        ([("/t", "c"), ("t", "c")], ["_t_c", "t_c"]),
        ([], []),
    ],
)
def test_no_two_cases_have_one_name(cases, names):
    """As much of the folders is added as it takes."""
    assert list(unique_names(cases)) == names
