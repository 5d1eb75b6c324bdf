"""Laws, values and errors of deepreg_meta.evaluate.page.run_results."""

import numpy as np
import pytest

from deepreg_meta.evaluate.page.run_results import (
    find_results,
    numbers_of,
    read_results,
)
from tests.report_helpers import case_rows, write_run, write_table


def test_a_folder_of_results_is_read_whole(tmp_path):
    run = read_results(write_run(tmp_path / "logs" / "one" / "test"), "one")
    assert (run.name, run.split, run.unit) == ("one", "test", "mm")
    assert run.cases["dsc_adapted"][4] == 0.57
    assert np.isnan(run.cases["tre_adapted_mm"][2])
    assert run.cases["warning"][3] == "1.25 % of the voxels fold"
    assert list(run.landmarks["landmark"][:2]) == ["1", "2"]  # names, not numbers
    assert len(run.adaptation) == 14 and run.labels.empty
    assert run.remarks == ("checkpoint logs/one/save/ckpt-9",)
    assert run.setting("train", "meta", "inner_steps") == 10
    assert run.setting("train", "nothing", "here") is None
    assert "warning" not in [name for name, _ in numbers_of(run.cases)]


def test_a_registered_pair_is_read_too(tmp_path):
    """`deepreg_register` writes its figure beside the tables."""
    folder = write_run(tmp_path / "pair", case_rows()[:1], config=None, pictures=())
    (folder / "figure.png").write_bytes(b"")
    run = read_results(folder, "pair")
    assert (run.split, run.config, run.remarks) == ("", {}, ())
    assert run.figure("case0") == folder / "figure.png"


def test_the_picture_of_a_case_is_found_in_its_own_folder(tmp_path):
    run = read_results(write_run(tmp_path / "one"), "one")
    assert run.figure("case4") == tmp_path / "one" / "case4" / "figure.png"
    assert run.figure("case1") is None


def test_results_of_an_evaluation_are_read_as_those_of_a_run(tmp_path):
    """Landmarks of one name in two sets stay apart."""
    write_table(
        tmp_path / "physical_cases.csv",
        [{"case": "a", "dsc_before": 0.5, "dsc_registered": 0.8}],
    )
    write_table(
        tmp_path / "physical_landmarks.csv",
        [
            {"case": "a", "points": kind, "landmark": "1", "tre_registered_mm": error}
            for kind, error in (("keypoints", 1.0), ("landmarks", 2.0))
        ],
    )
    assert find_results(tmp_path) == [tmp_path]
    run = read_results(tmp_path, "other")
    assert list(run.landmarks["landmark"]) == ["keypoints 1", "landmarks 1"]
    assert run.unit == "mm"


def test_all_splits_of_a_run_are_found_and_nothing_that_is_hidden(tmp_path):
    for name in ("valid", "test", ".test-k3j"):
        write_run(tmp_path / "one" / name)
    (tmp_path / "one" / "save").mkdir()
    found = find_results(tmp_path / "one")
    assert [path.name for path in found] == ["test", "valid"]
    assert find_results(tmp_path / "one" / "valid") == [tmp_path / "one" / "valid"]


def test_a_folder_without_results_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="none, which is not there"):
        find_results(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="file, which is no folder"):
        find_results(tmp_path / "file")
    (tmp_path / "one" / "save").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"metrics\.csv in .*one .*got save.*interrup"):
        find_results(tmp_path / "one")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metrics.csv", "", "an empty file"),
        ("metrics.csv", "case,dsc_adapted\n", "at least one row"),
        ("metrics.csv", "pair_index,dice\n0,0.5\n", "case among them, got pair_index"),
        ("metrics.csv", "case,dsc_adapted,dsc_adapted\na,1,1\n", "distinct columns"),
        ("metrics.csv", "case,dsc_adapted\na,0.5\nb\n", "line 3: expected 2 cells"),
        ("metrics.csv", "case,dsc_adapted\na,0.5\na,0.6\n", "two for a"),
        (
            "metrics.csv",
            "case,dsc_adapted\na,good\n",
            "line 2, column dsc_adapted.*'good'",
        ),
        (
            "metrics.csv",
            "case,tre_adapted_mm,hd95_adapted_vox\na,1,2\n",
            "mm and voxels",
        ),
        ("landmarks.csv", "case,tre_adapted_mm\na,1\n", "case, landmark among them"),
        (
            "landmarks.csv",
            "case,landmark,tre_adapted_mm\nz,1,1\n",
            "cases of metrics.csv",
        ),
        (
            "adaptation.csv",
            "case,step,loss\ncase0,0,1\ncase0,0,1\n",
            "two for case0, 0",
        ),
        ("labels.csv", 'case,label,dsc_adapted\n"case0,1,0.5\n', "expected a CSV file"),
        ("config.yaml", "a: [1", "expected YAML"),
        ("config.yaml", "- 1\n", "expected a configuration.*got list"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path, file, text, message):
    folder = write_run(tmp_path / "one")
    if file == "metrics.csv":
        for other in ("landmarks.csv", "adaptation.csv"):
            (folder / other).unlink()
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)one.*{message}") as caught:
        read_results(folder, "one")
    assert str(folder) in str(caught.value)
    assert "mm and" in message or file in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    folder = write_run(tmp_path / "one")
    for file, message in (
        ("metrics.csv", "CSV file in UTF-8"),
        ("config.yaml", "YAML"),
    ):
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(b"\xff\xfe" + content)
        with pytest.raises(ValueError, match=message):
            read_results(folder, "one")
        (folder / file).write_bytes(content)


def test_words_in_a_column_of_a_later_version_are_no_error(tmp_path):
    rows = [dict(row, remark="fine") for row in case_rows()]
    run = read_results(write_run(tmp_path / "one", rows), "one")
    assert "remark" not in [name for name, _ in numbers_of(run.cases)]


def test_the_mean_over_structures_of_an_evaluation_is_of_no_label(tmp_path):
    for kind in ("cases", "labels"):
        rows = [
            {"case": "a", "label": label, "dsc_registered": 0.5}
            for label in ("1", "2")[: 1 if kind == "cases" else 2]
        ]
        write_table(tmp_path / f"physical_{kind}.csv", rows)
    assert read_results(tmp_path, "one").first_label == ""
    for kind, name in (("cases", "metrics"), ("labels", "labels")):
        (tmp_path / f"physical_{kind}.csv").rename(tmp_path / f"{name}.csv")
    assert read_results(tmp_path, "one").first_label == "1"
