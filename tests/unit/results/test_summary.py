"""Tests of deepreg_meta/results/summary.py."""

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.results.scene import Scene
from deepreg_meta.results.score import score
from deepreg_meta.results.summary import write_summary
from tests.unit.results.examples import (
    HISTORY,
    make_case,
    make_result,
    without_labels,
    without_landmarks,
)


def summarise(folder, *results, **options):
    for result in results:
        score(Scene(result))
    return write_summary(folder, list(results), HISTORY, **options)


def read(path):
    return pd.read_csv(path, comment="#")


def test_the_tables_hold_cases_labels_landmarks_and_updates(tmp_path):
    """|(1, -1, 2) * (1, 2, 0.5)| = sqrt(6) mm before."""
    text = summarise(tmp_path, make_result(make_case("upright")), title="my title")
    assert "Dice" in text and "my title" in text
    rows = read(tmp_path / "metrics.csv")
    assert rows["tre_before_mm"][0] == pytest.approx(np.sqrt(6), rel=1e-4)
    labels = read(tmp_path / "labels.csv")
    assert list(labels["label"]) == ["gland", "cyst", "apex"]
    assert labels["dsc_before"][0] == rows["dsc_before"][0] < 1
    assert list(labels["dsc_adapted"]) == [1, 1, 1]
    landmarks = read(tmp_path / "landmarks.csv")
    assert list(landmarks["landmark"]) == ["cyst", "apex"]
    steps = read(tmp_path / "adaptation.csv")
    assert list(steps["step"]) == [0, 1]
    assert list(steps["loss"]) == [-0.1, -0.4]
    assert list(steps["loss_label"]) == [-0.2, -0.6]
    assert list(steps["num_frames"]) == [2, 3]
    assert list(steps["tre_mm"]) == [3, 2]
    assert (tmp_path / "adaptation.png").is_file()
    documented = (tmp_path / "columns.md").read_text()
    for table in (rows, labels, landmarks, steps):
        for name in table.columns:
            assert f"`{name}`" in documented, name


def test_the_summary_is_over_the_cases(tmp_path):
    """Shifts of sqrt(6) and of twice that remain of the two pairs, before and after."""
    pairs = [make_result(make_case("upright")) for _ in range(2)]
    pairs[0].outputs["ddf"] = np.zeros_like(pairs[0].outputs["ddf"])
    pairs[1].outputs["ddf"] = -pairs[1].outputs["ddf"]
    summarise(tmp_path, *pairs)
    assert len(read(tmp_path / "metrics.csv")) == 2
    assert len(read(tmp_path / "landmarks.csv")) == 4
    assert len(read(tmp_path / "adaptation.csv")) == 4
    table = read(tmp_path / "summary.csv").set_index("metric")
    mean = table.loc["tre_adapted_mm", "mean"]
    assert mean == pytest.approx(1.5 * np.sqrt(6), rel=1e-4)
    assert table.loc["tre_adapted_mm", "n"] == 2


def test_pairs_without_labels_and_updates_leave_their_tables_out(tmp_path):
    result = make_result(without_labels(make_case()), history=np.zeros((0, 5)))
    summarise(tmp_path, result)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"metrics.csv", "columns.md", "summary.csv"}


@pytest.mark.parametrize("spacing", [None, (1, 1, 1)])
def test_nominal_spacings_are_reported_in_voxels(tmp_path, spacing):
    """No column calls them mm, those of updates and labels neither."""
    summarise(tmp_path, make_result(make_case("oblique", spacing_mm=spacing)))
    wanted, other = ("_mm", "_vox") if spacing is None else ("_vox", "_mm")
    for name in ("metrics.csv", "labels.csv", "landmarks.csv", "adaptation.csv"):
        columns = read(tmp_path / name).columns
        assert not [c for c in columns if c.endswith(other)]
        assert [c for c in columns if c.endswith(wanted)]


def test_a_warning_is_a_column_that_is_not_averaged(tmp_path):
    result = make_result(make_case())
    score(Scene(result))
    result.case_row["warning"] = "1 % folds, more than 0 %; it moves"
    write_summary(tmp_path, [result], HISTORY)
    assert read(tmp_path / "metrics.csv")["warning"][0].endswith("0 %; it moves")
    assert "warning" not in set(read(tmp_path / "summary.csv")["metric"])
    assert "`warning`" in (tmp_path / "columns.md").read_text()


def test_what_the_first_case_lacks_is_summarised_too(tmp_path):
    """Landmarks that some cases alone have, in either order."""
    bare = make_result(without_landmarks(make_case("upright")))
    full = make_result(make_case("upright"))
    for order in ((bare, full), (full, bare)):
        summarise(tmp_path, *order)
        table = read(tmp_path / "summary.csv").set_index("metric")
        assert table.loc["tre_adapted_mm", "n"] == 1
        assert table.loc["dsc_adapted", "n"] == 2
