"""Tests of deepreg_meta/sequence/table.py."""

from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from deepreg_meta.sequence.table import format_table, write_tables
from tests.unit.sequence.examples import shifting

ROWS = [
    {
        "pair": f"00{i}_to_00{i - 1}", "frame": i, "time_s": 0.04 * i,
        "mse_still": 0.002 * i, "mse_tracked": 0.001 * i,
        "nlcc_still": 0.5, "nlcc_tracked": 0.8, "motion_mean_mm": 1.0,
        "motion_max_mm": 2.0, "speed_mean": 25.0, "folds": 0.0, "jacobian_min": 0.9,
        "epe_still_mm": 1.0, "epe_tracked_mm": 0.25, "epe_median_mm": 0.2,
        "epe_p95_mm": 0.5, "seconds": 0.5,
    }
    for i in (1, 2, 3)
]  # fmt: skip
DRIFT = [
    {"frame": 3, "label": "2", "dsc_still": 0.6, "dsc_tracked": 0.9},
    {"frame": 3, "landmark": "w0", "error_still_mm": 4.0, "error_tracked_mm": 0.5},
]


def test_the_table_compares_with_standing_still():
    """Mean and standard deviation: 1, 2 and 3 thousandths are 2.000 ± 1.000."""
    lines = format_table(shifting(), ROWS, DRIFT, "three pairs").splitlines()
    assert lines[0] == "three pairs"
    assert "| MSE (1e-3) | 4.000 ± 2.000 | 2.000 ± 1.000 |" in lines
    assert "| NLCC | 0.5000 ± 0.0000 | 0.8000 ± 0.0000 |" in lines
    assert "| endpoint error (mm) | 1.000 ± 0.000 | 0.250 ± 0.000 |" in lines
    assert "| Dice of later labels | 0.600 | 0.900 |" in lines
    assert "| drift of points (mm) | 4.000 | 0.500 |" in lines
    assert "| speed (mm/s) | | 25.000 ± 0.000 |" in lines


def test_what_was_not_measured_has_no_line():
    rows = [{k: v for k, v in row.items() if "epe" not in k} for row in ROWS]
    text = format_table(shifting(), rows)
    assert "endpoint" not in text and "drift" not in text and "NLCC" in text


def test_all_tables_are_written_with_their_columns_explained(tmp_path, caplog):
    text = write_tables(tmp_path, shifting(), ROWS, DRIFT, "title")
    assert (tmp_path / "summary.md").read_text() == f"{text}\n"
    table = pd.read_csv(tmp_path / "tracking.csv")
    assert table["pair"].tolist()[0] == "001_to_000" and len(table) == 3
    assert table["epe_tracked_mm"].tolist() == [0.25] * 3
    drift = pd.read_csv(tmp_path / "drift.csv")
    assert drift["dsc_tracked"].dropna().tolist() == [0.9]
    summary = pd.read_csv(tmp_path / "summary.csv").set_index("metric")
    assert summary.loc["mse_tracked", "mean"] == pytest.approx(0.002)
    assert summary.loc["epe_p95_mm", "n"] == 3
    columns = (tmp_path / "columns.md").read_text()
    for name in {*ROWS[0], *DRIFT[0], *DRIFT[1]}:
        assert f"| `{name}` |" in columns
    assert "is not documented" not in caplog.text


def test_lengths_of_pictures_are_called_voxels(tmp_path):
    """In every file; speeds per frame where no time step is known."""
    sequence = replace(shifting(time_step_s=None), has_spacing=False)
    rows = [{k: v for k, v in row.items() if k != "time_s"} for row in ROWS]
    text = write_tables(tmp_path, sequence, rows, DRIFT)
    assert "endpoint error (voxels)" in text and "speed (voxels/frame)" in text
    header = (tmp_path / "tracking.csv").read_text().splitlines()[0]
    assert "epe_tracked_vox" in header and "_mm" not in header
    assert "error_tracked_vox" in (tmp_path / "drift.csv").read_text()


def test_the_plot_has_a_panel_for_each_measure(tmp_path):
    """MSE, NLCC, endpoint error, speed; three without a truth."""
    write_tables(tmp_path / "a", shifting(), ROWS)
    rows = [{k: v for k, v in row.items() if "epe" not in k} for row in ROWS]
    write_tables(tmp_path / "b", shifting(), rows)
    widths = [Image.open(tmp_path / k / "tracking.png").width for k in "ab"]
    assert widths[0] / widths[1] == pytest.approx(4 / 3, rel=0.01)
    assert not (tmp_path / "a" / "drift.csv").exists()
