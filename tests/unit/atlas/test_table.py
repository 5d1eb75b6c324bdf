"""Tests of deepreg_meta/atlas/table.py."""

import numpy as np
import pandas as pd
import pytest

from deepreg_meta.atlas.table import (
    structure_rows,
    summarize,
    values_of,
    wide_summary,
    write_rows,
)

SPACING = np.array([1.0, 2.0, 0.5])


@pytest.fixture
def maps():
    """:return: two boxes of 24 voxels, the second shifted by a voxel of 2 mm; 1 alone
    is in the second."""
    truth, found = np.zeros((2, 6, 8, 7), int)
    truth[1:4, 1:5, 1:3] = 5
    found[1:4, 2:6, 1:3] = 5
    found[5, 7, 6] = 1
    return truth, found


def test_a_structure_is_measured(maps):
    """Dice 18 / 24, the distance of a voxel, 24 voxels of 1 mm^3."""
    truth, found = maps
    rows = structure_rows(found, truth, {1: "cyst", 5: "gland"}, SPACING)
    gland = rows[1]
    assert gland["structure"] == "gland" and gland["value"] == 5
    assert gland["dsc"] == 0.75 and gland["hd95_mm"] == 2.0
    assert gland["volume_mm3"] == gland["volume_mm3_true"] == 24.0
    assert rows[0]["dsc"] == 0 and np.isnan(rows[0]["hd95_mm"])
    assert rows[0]["volume_mm3"] == 1.0 and rows[0]["volume_mm3_true"] == 0.0


def test_without_truth_there_are_sizes_alone(maps):
    """Voxels stay voxels where a millimetre is not known."""
    [row] = structure_rows(maps[1], None, {5: "5"}, SPACING, "voxels")
    assert row == {"structure": "5", "value": 5, "volume_vox3": 24.0}


def test_a_slice_has_areas_whatever_its_thickness(maps):
    """12 pixels of 1 x 2."""
    truth, found = (own[:, :, 1:2] for own in maps)
    for thickness in (0.5, 9.0):
        spacing = np.array([1, 2, thickness])
        [row] = structure_rows(found, truth, {5: "5"}, spacing, "voxels")
        assert row["area_vox2"] == 24.0 and row["hd95_vox"] == 2.0


def test_structures_are_all_values_but_the_background(maps):
    assert values_of(maps) == [1, 5]
    assert values_of([np.zeros((2, 2, 2), int)]) == []


@pytest.fixture
def rows():
    """:return: two targets, two structures, fused and of two atlases."""
    dsc = {
        ("t1", 0): (0.8, 0.6), ("t1", 1): (0.7, 0.5), ("t1", 2): (0.5, np.nan),
        ("t2", 0): (0.9, 0.8), ("t2", 1): (0.7, 0.4), ("t2", 2): (0.8, 0.2),
    }  # fmt: skip
    return pd.DataFrame(
        {"target": target, "rank": number, "atlas": "x", "template": "",
         "structure": name, "value": value, "dsc": score, "hd95_mm": 10 * (1 - score)}
        for (target, number), scores in dsc.items()
        for name, value, score in zip("ab", (1, 2), scores, strict=True)
    )  # fmt: skip


def test_scores_are_averaged_over_targets(rows):
    """A target counts once: its structures, and its atlases, are averaged first."""
    table = summarize(rows).set_index(["method", "structure"])
    fused = table.loc["fused"]
    assert fused.loc["a", "dsc_mean"] == pytest.approx(0.85)
    assert fused.loc["a", "dsc_sd"] == pytest.approx(np.std([0.8, 0.9], ddof=1))
    assert fused.loc["average", "dsc_mean"] == pytest.approx((0.7 + 0.85) / 2)
    assert fused.loc["average", "dsc_sd"] == pytest.approx(np.std([0.7, 0.85], ddof=1))
    first = table.loc["most similar atlas"]
    assert first.loc["b", "dsc_mean"] == pytest.approx(0.45)
    single = table.loc["single atlases, mean"]
    assert single.loc["b", "dsc_mean"] == pytest.approx((0.5 + 0.3) / 2)
    assert single.loc["average", "dsc_mean"] == pytest.approx(
        ((0.6 + 0.5) / 2 + (0.75 + 0.3) / 2) / 2
    )
    assert single.loc["b", "dsc_n"] == 2
    assert fused.loc["b", "hd95_mm_mean"] == pytest.approx(3.0)


def test_ways_through_templates_are_averaged_by_themselves(rows):
    rows.loc[rows["rank"] == 2, "template"] = "y"
    table = summarize(rows).set_index(["method", "structure"])
    through = table.loc["through one template, mean"]
    assert through.loc["a", "dsc_mean"] == pytest.approx((0.5 + 0.8) / 2)
    single = table.loc["single atlases, mean"]
    assert single.loc["a", "dsc_mean"] == pytest.approx(0.7)


def test_the_table_for_reading_has_the_same_figures(rows):
    table = wide_summary(rows).set_index("labels")
    assert table.loc["fused", "Dice a"] == "0.850 ± 0.071"
    assert table.loc["fused", "Dice, average"] == "0.775 ± 0.106"
    assert table.loc["fused", "HD95 (mm), average"] == "2.25 ± 1.06"
    assert table.loc["most similar atlas", "Dice b"] == "0.450 ± 0.071"
    assert set(table["targets"]) == {"2"}


def test_rows_are_written_as_csv(tmp_path):
    """Missing numbers as empty cells."""
    path = tmp_path / "new" / "rows.csv"
    write_rows(path, [{"a": 1 / 3, "b": "x"}, {"a": float("nan"), "b": "y, z"}])
    assert path.read_text() == 'a,b\n0.333333,x\n,"y, z"\n'
