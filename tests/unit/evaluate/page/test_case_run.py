"""Laws and values of deepreg_meta.evaluate.page.case_run."""

import pytest

from deepreg_meta.evaluate.page.case_run import CaseRun
from deepreg_meta.evaluate.page.run_results import read_results
from deepreg_meta.evaluate.page.study import make_study
from tests.report_helpers import case_rows, write_run


@pytest.fixture
def run(tmp_path):
    """A function that makes a run of rows."""

    def make(rows, baseline=None, unit="mm"):
        number = len(list(tmp_path.iterdir()))
        folder = write_run(tmp_path / f"run{number}" / "test", rows, unit)
        return CaseRun(make_study([read_results(folder, "one")], baseline), 0)

    return make


def test_the_worst_case_by_dice_comes_first(run):
    # 0.57, 0.80, 0.85, 0.88, 0.90, 0.91, 0.95
    found = run(case_rows())
    assert found.judged_by == "dsc"
    assert found.worst_first() == [f"case{i}" for i in (4, 2, 1, 5, 0, 6, 3)]


def test_without_labels_the_worst_case_has_the_largest_error(run):
    rows = [{k: v for k, v in row.items() if "dsc_" not in k} for row in case_rows()]
    found = run(rows)
    assert found.judged_by == "tre"
    # case 2 has no error to be judged by
    assert found.worst_first() == [f"case{i}" for i in (2, 4, 3, 1, 0, 6, 5)]


def test_a_case_that_lost_its_value_failed_and_leads(run):
    rows = case_rows()
    rows[5] |= {"dsc_adapted": None, "tre_adapted_mm": None}
    found = run(rows)
    assert found.worst_first()[0] == "case5"
    assert found.flags("case5") == [
        "failed: Dice has no value",
        "failed: Target registration error has no value",
    ]
    assert found.flags("case2") == []  # it never had landmarks


def test_folds_are_flagged_with_their_share_and_the_warning(run):
    assert run(case_rows()).flags("case3") == [
        "folds: 1.250 % of the voxels",
        "1.25 % of the voxels fold",
    ]
    rows = case_rows()
    for row in rows:
        row["folds_adapted"] = None if row["case"] == "case1" else 0
    found = run(rows)
    assert found.flags("case1") == ["folds: - % of the voxels"]  # a field that is nan
    rows = [{k: v for k, v in row.items() if "folds" not in k} for row in case_rows()]
    flags = run(rows).flags("case3")
    assert flags[0] == "folds: the determinant is not positive everywhere"


def test_what_is_worse_than_the_baseline_is_flagged(run):
    """Case 4: 0.57 after 0.78 of the centroids and 0.58 before; its error fell."""
    assert run(case_rows()).flags("case4") == ["Dice worse than centroids"]
    assert run(case_rows(), "before").flags("case4") == ["Dice worse than before"]
    assert run(case_rows(), "adapted").flags("case4") == []
    rows = case_rows("vox")
    rows[0]["tre_adapted_vox"] = 3.1  # 3.0 with the centroids
    flags = run(rows, unit="vox").flags("case0")
    assert flags == ["Target registration error worse than centroids"]


def test_lost_landmarks_are_flagged(run):
    rows = [dict(row, lost_adapted=int(row["case"] == "case6")) for row in case_rows()]
    found = run(rows)
    assert found.flags("case6") == ["1 landmark blobs lost"]
    assert found.flags("case5") == []
