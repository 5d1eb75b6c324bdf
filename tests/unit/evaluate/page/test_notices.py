"""Laws and values of deepreg_meta.evaluate.page.notices."""

from copy import deepcopy

from deepreg_meta.evaluate.page.notices import notices_between, notices_of
from deepreg_meta.evaluate.page.run_results import read_results
from tests.report_helpers import CONFIG, case_rows, write_run


def quiet_rows():
    return [dict(row, warning="") for row in case_rows()]


def run_of(folder, rows=None, **given):
    rows = quiet_rows() if rows is None else rows
    return read_results(write_run(folder / "test", rows, **given), folder.name)


def test_where_nothing_is_amiss_nothing_is_said(tmp_path):
    runs = [run_of(tmp_path / name) for name in ("one", "two")]
    assert notices_of(runs) == []


def test_a_nominal_spacing_is_told_and_one_that_is_set_by_hand(tmp_path):
    rows = [dict(row, warning="") for row in case_rows("vox")]
    run = run_of(tmp_path / "one", rows, unit="vox")
    (notice,) = notices_of([run])
    assert "no length here is known in mm" in notice
    config = deepcopy(CONFIG)
    config["dataset"]["spacing_mm"] = [1, 1, 2]
    (notice,) = notices_of([run_of(tmp_path / "two", config=config)])
    assert "overrides the spacing of the files (dataset.spacing_mm): two" in notice


def test_cases_that_a_run_lacks_are_named(tmp_path):
    runs = [run_of(tmp_path / "one"), run_of(tmp_path / "two", quiet_rows()[:6])]
    lacking, different = notices_of(runs)
    assert lacking == "two has no results for 1 of 7 cases: case6."
    assert (
        "do not have the same cases" in different and "6 cases are in all" in different
    )


def test_long_lists_of_cases_are_cut(tmp_path):
    runs = [run_of(tmp_path / "one"), run_of(tmp_path / "two", quiet_rows()[:1])]
    notices = notices_of(runs)
    assert "case1, case2, case3, case4, case5 and 1 more" in notices[0]
    assert "With 1 case in all runs no conclusion" in notices[2]


def test_few_cases_are_told_to_prove_nothing(tmp_path):
    assert notices_of([run_of(tmp_path / "one", quiet_rows()[:6])]) == []
    (notice,) = notices_of([run_of(tmp_path / "two", quiet_rows()[:5])])
    assert "With 5 cases" in notice


def test_runs_on_other_data_are_told_apart(tmp_path):
    """Folders of another split do not matter."""
    other, same = deepcopy(CONFIG), deepcopy(CONFIG)
    other["dataset"]["dir"]["test"] = "elsewhere"
    other["dataset"]["labels"] = {"gland": 2}
    same["dataset"]["dir"]["train"] = "elsewhere"
    first = run_of(tmp_path / "one")
    assert notices_of([first, run_of(tmp_path / "two", config=same)]) == []
    (notice,) = notices_of([first, run_of(tmp_path / "three", config=other)])
    assert notice.startswith("The runs differ in dataset.dir, dataset.labels: cases of")


def test_a_missing_configuration_and_warnings_are_told(tmp_path):
    unknown, warned = notices_of([run_of(tmp_path / "one", case_rows(), config=None)])
    assert "No config.yaml lies beside the results of one" in unknown
    assert warned == "one: the registration warns about 1 of 7 cases: case3."


def test_runs_of_the_same_splits_are_all_compared(tmp_path):
    """Two runs of two splits; the notice comes when one of them lacks a split."""
    groups = [
        [read_results(write_run(tmp_path / run / split), run) for run in ("k1", "k9")]
        for split in ("test", "valid")
    ]
    assert notices_between(groups) == notices_between(groups[:1]) == []
    (notice,) = notices_between([groups[0], groups[1][:1]])
    assert "k1/valid (split valid). The split is taken from the folder's" in notice


def test_lengths_in_two_units_are_told_even_where_nothing_is_compared(tmp_path):
    groups = [
        [read_results(write_run(tmp_path / split, unit=unit), "one")]
        for split, unit in (("test", "mm"), ("valid", "vox"))
    ]
    (notice,) = notices_between(groups)
    assert notice.startswith(f"Lengths are in mm in {tmp_path / 'test'}; in voxels in")


def test_the_label_of_the_headline_and_the_others_are_named(tmp_path):
    folder = write_run(tmp_path / "one" / "test", quiet_rows())
    for names, expected in ((("front",), []), (("front", "back"), ["front", "back"])):
        lines = [f"case0,{name},0.5" for name in names]
        (folder / "labels.csv").write_text(
            "case,label,dsc_adapted\n" + "\n".join(lines)
        )
        notices = notices_of([read_results(folder, "one")])
        assert len(notices) == bool(expected)
        assert all("first label, front. The other labels (back)" in n for n in notices)
