"""Laws, values and errors of deepreg_meta.evaluate.columns."""

import pytest

from deepreg_meta.evaluate.columns import (
    COLUMNS,
    REGISTERED,
    describe_column,
    rename_unit,
    stage_column,
)


def test_every_column_has_a_description_and_lengths_name_their_unit():
    for name in COLUMNS:
        text = describe_column(name)
        assert len(text) > 5
        assert text.endswith("; in mm") == name.endswith("_mm")


def test_a_stage_stands_at_the_end_or_where_the_star_is():
    assert stage_column("dsc", "adapted") == "dsc_adapted"
    assert stage_column("tre_*_mm", "before") == "tre_before_mm"
    assert {"dsc_off_frames_unadapted", "tre_blob_adapted_mm"} <= set(COLUMNS)


def test_a_length_in_voxels_is_described_as_such():
    assert rename_unit("tre_adapted_mm", "voxels") == "tre_adapted_vox"
    assert rename_unit("tre_adapted_mm", "mm") == "tre_adapted_mm"
    assert rename_unit("dsc_adapted", "voxels") == "dsc_adapted"
    assert "voxels (nominal" in describe_column("tre_adapted_vox")


def test_a_loss_by_name_is_described_by_its_pattern():
    assert describe_column("loss_image") == COLUMNS["loss_*"]


def test_a_structure_and_a_field_of_any_method_have_descriptions():
    assert "structure" in describe_column("dsc_apex_adapted")
    assert "off the sampled frames" in describe_column("dsc_off_frames_adapted")
    assert stage_column("hd95_*_mm", REGISTERED) == "hd95_registered_mm"
    assert "the field that is evaluated" in describe_column("hd95_registered_mm")


def test_figures_of_the_challenge_are_told_from_ours():
    for name in ("DSC", "HD95", "TRE_kp", "LogJacDetStd", "num_foldings"):
        assert describe_column(name).startswith("Learn2Reg's scorer: ")
    assert "voxels" in describe_column("HD95")


def test_undocumented_columns_and_units_are_refused():
    with pytest.raises(ValueError, match="column 'dcs_adapted' is not documented"):
        describe_column("dcs_adapted")
    with pytest.raises(ValueError, match="unit: expected one of .*got 'cm'"):
        rename_unit("tre_mm", "cm")


def test_measures_of_sequences_say_how_they_were_taken():
    for name in ("mse", "nlcc", "dsc"):
        assert describe_column(f"{name}_still").endswith("; as if nothing moved")
        assert describe_column(f"{name}_tracked").endswith("; by the tracking")
    assert "voxels" in describe_column("epe_tracked_vox")
    assert "known to be" in describe_column("error_still_mm")
