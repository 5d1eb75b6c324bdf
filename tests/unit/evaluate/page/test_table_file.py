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
