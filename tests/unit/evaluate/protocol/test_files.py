"""Values of deepreg_meta.evaluate.protocol.files."""

import pandas as pd

from deepreg_meta.evaluate.protocol.files import write_results
from deepreg_meta.evaluate.protocol.scores import Scores

SUMMARY = [{"metric": "DSC", "n": 2, "mean": 0.25, "std": float("nan")}]


def test_every_table_is_named_by_the_protocol_and_its_columns_are_described(tmp_path):
    scores = [
        Scores(
            {"case": "a", "DSC": 0.25},
            [{"case": "a", "label": 1, "DSC": 0.25}],
            [{"case": "a", "points": "keypoints", "landmark": "1", "TRE_kp": 2.0}],
        ),
        Scores({"case": "b", "HD95": float("inf")}),
    ]
    text = write_results(tmp_path / "new", "learn2reg", scores, SUMMARY, "Two pairs.")
    folder = tmp_path / "new"
    names = ("cases.csv", "labels.csv", "landmarks.csv", "summary.csv", "summary.md")
    assert sorted(f.name for f in folder.iterdir()) == [f"learn2reg_{n}" for n in names]
    cases = pd.read_csv(folder / "learn2reg_cases.csv", index_col="case")
    assert cases.loc["a", "DSC"] == 0.25 and cases.loc["b", "HD95"] == float("inf")
    assert cases.isna().to_numpy().sum() == 2
    page = (folder / "learn2reg_summary.md").read_text()
    assert "Two pairs." in page and "| DSC | 2 | 0.25 | - |" in page
    for column in ("DSC", "HD95", "TRE_kp", "label", "points", "std"):
        assert f"| `{column}` | " in page
    assert text.splitlines() == ["metric  n  mean  std", "DSC     2  0.25  -"]


def test_tables_of_an_earlier_evaluation_do_not_stay(tmp_path):
    rich = Scores({"case": "a"}, [{"case": "a", "label": 1}])
    write_results(tmp_path, "physical", [rich], SUMMARY, "")
    other = write_results(tmp_path, "learn2reg", [rich], SUMMARY, "")
    write_results(tmp_path, "physical", [Scores({"case": "a"})], SUMMARY, "")
    assert other and not (tmp_path / "physical_labels.csv").exists()
    assert (tmp_path / "learn2reg_labels.csv").exists()
