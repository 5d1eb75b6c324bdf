"""Tests of deepreg_meta/inspection/finding.py."""

from deepreg_meta.inspection.finding import of_level, problems, warnings


def test_findings_are_gathered_by_level_and_title_once_each():
    found = [
        *problems("bad files", ["a", "b"]),
        *warnings("odd files", ["a"]),
        *problems("other", ["c"]),
        *problems("bad files", ["b", "d"]),
    ]
    gathered = of_level(found, "problem")
    assert gathered == {"bad files": ["a", "b", "d"], "other": ["c"]}
    assert list(gathered) == ["bad files", "other"]
    assert of_level(found, "warning") == {"odd files": ["a"]}
