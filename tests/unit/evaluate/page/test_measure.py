"""Laws and values of deepreg_meta.evaluate.page.measure."""

import pytest

from deepreg_meta.evaluate.columns import COLUMNS
from deepreg_meta.evaluate.page import measure
from deepreg_meta.evaluate.page.measure import Column


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("dsc_adapted", ("dsc", "adapted", "")),
        ("dsc_unadapted", ("dsc", "unadapted", "")),
        ("dsc_off_frames_centroids", ("dsc_off_frames", "centroids", "")),
        ("tre_blob_before_mm", ("tre_blob", "before", "mm")),
        ("hd95_registered_vox", ("hd95", "registered", "voxels")),
        ("seconds", ("seconds", "", "")),
        ("inverse_residual_max_mm", ("inverse_residual_max", "", "mm")),
        ("adapted", ("adapted", "", "")),
    ],
)
def test_a_column_is_a_metric_at_a_stage_in_a_unit(name, parts):
    assert measure.split_column(name) == parts
    assert measure.join_column(Column(*parts)) == name


def test_every_documented_column_can_be_taken_apart_and_put_together():
    for name in COLUMNS:
        assert measure.join_column(measure.split_column(name)) == name


def test_numbers_are_printed_as_their_measure_asks():
    dice, error = measure.measure_of("dsc"), measure.measure_of("tre", "mm")
    folds = measure.measure_of("folds")
    assert (dice.title, dice.format(0.85649)) == ("Dice", "0.856")
    assert error.title == "Target registration error (mm)"
    assert error.format(3.14159) == "3.14"
    assert (folds.title, folds.format(0.0125)) == ("Folding voxels (%)", "1.250")
    assert dice.format(None) == dice.format(float("nan")) == "-"


def test_a_small_number_is_not_printed_as_none_and_rounding_is():
    assert measure.number(0.00012, 3) == "0.00012"
    assert measure.number(-0.00012, 3) == "-0.00012"
    assert measure.number(0.0, 3) == measure.number(1e-16, 3) == "0.000"
    assert measure.number(12345.678, 2) == "12346"
    assert measure.p_value(0.00099) == "< 0.001" and measure.p_value(0.0014) == "0.001"
    assert measure.p_value(1.0) == "1.000" and measure.p_value(float("nan")) == "-"


def test_which_way_is_better_is_known_for_what_is_compared():
    better = {
        name: measure.measure_of(name).higher_is_better
        for name in (
            "dsc",
            "ncc",
            "jacobian_min",
            "tre",
            "hd95",
            "folds",
            "mse",
            "loss",
        )
    }
    assert [name for name, value in better.items() if value] == [
        "dsc", "ncc", "jacobian_min",
    ]  # fmt: skip
    assert better["loss"] is None and better["tre"] is False
    assert measure.measure_of("dsc_7").higher_is_better is True
    assert measure.measure_of("something_new").higher_is_better is None


def test_an_unknown_length_is_printed_with_its_unit():
    found = measure.measure_of("shift", "voxels")
    assert (found.title, found.format(1.234)) == ("shift (voxels)", "1.23")


def test_definitions_are_those_of_the_columns_without_the_stage():
    assert measure.definition_of("jacobian_min", "") == "least Jacobian determinant"
    text = measure.definition_of("tre", "mm")
    assert text.startswith("target registration error") and text.endswith("; in mm")
    assert "before registration" not in text
    nominal = measure.definition_of("asd", "voxels")
    assert nominal.endswith("in voxels (nominal spacing)")
    assert "deepreg_evaluate" in measure.definition_of("mse", "")
    assert measure.definition_of("something_new", "") == "not documented"


def test_metrics_are_listed_in_a_fixed_order():
    names = sorted(["zeta", "folds", "tre", "dsc", "alpha"], key=measure.sort_key)
    assert names == ["dsc", "tre", "folds", "alpha", "zeta"]


def test_what_is_of_the_first_label_alone_bears_its_name():
    assert measure.case_measure("dsc", "", "gland").title == "Dice (gland)"
    assert measure.case_measure("dsc").title == "Dice"
    surface = measure.case_measure("hd95", "mm", "gland")
    assert surface.title == "95 % Hausdorff distance (gland) (mm)"
    assert surface.higher_is_better is False
    assert measure.case_measure("tre", "mm", "gland") == measure.measure_of("tre", "mm")
