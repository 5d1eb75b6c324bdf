"""Values and errors of deepreg_meta.evaluate.page.table_file (more of them through
test_run_results.py)."""

import numpy as np
import pytest

from deepreg_meta.evaluate.page.table_file import read_table


def test_numbers_become_floats_empty_cells_nan_and_names_stay_words(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text('case,dsc_adapted,note\n"007, left",0.25,\nb,,2\n')
    table = read_table(path, ("case",))
    assert table["case"].tolist() == ["007, left", "b"]
    np.testing.assert_array_equal(table["dsc_adapted"], [0.25, np.nan])
    np.testing.assert_array_equal(table["note"], [np.nan, 2.0])


def test_the_line_and_the_column_of_a_wrong_cell_are_told(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("case,seconds\na,1\nb,1,2\n")
    with pytest.raises(ValueError, match=r"metrics\.csv, line 3: expected 2 cells"):
        read_table(path, ("case",))
    path.write_text("case,seconds\na,1\nb,soon\n")
    with pytest.raises(ValueError, match=r"csv, line 3, column seconds: .*got 'soon'"):
        read_table(path, ("case",))
    with pytest.raises(ValueError, match="case, label among them, got case, seconds"):
        read_table(path, ("case", "label"))


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("dsc_adapted", "1.2", r"a value in \[0, 1\], got 1\.2"),
        ("dsc_before", "-0.1", r"a value in \[0, 1\], got -0\.1"),
        ("dsc_off_frames_adapted", "inf", r"a value in \[0, 1\], got inf"),
        ("hd95_adapted_mm", "-inf", "a finite number or an empty cell, got -inf"),
    ],
)
def test_file_case_column_and_value_out_of_range_are_named(
    tmp_path, column, value, rule
):
    path = tmp_path / "metrics.csv"
    path.write_text(f"case,{column}\na,0.5\nb,{value}\n")
    with pytest.raises(
        ValueError, match=rf"metrics\.csv, case b, column {column}: expected {rule}"
    ):
        read_table(path, ("case",))


def test_the_ends_of_the_range_and_a_diverged_loss_are_read(tmp_path):
    path = tmp_path / "adaptation.csv"
    path.write_text("case,step,loss,dsc\na,0,1,0\na,1,inf,1\n")
    table = read_table(path, ("case", "step"))
    np.testing.assert_array_equal(table["loss"], [1, np.inf])
    np.testing.assert_array_equal(table["dsc"], [0, 1])


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("case,dsc_adapted\na,0.5\n", encoding="utf-8-sig")
    assert list(read_table(path, ("case",))) == ["case", "dsc_adapted"]
