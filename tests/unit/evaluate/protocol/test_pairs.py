"""Values and errors of deepreg_meta.evaluate.protocol.pairs."""

from pathlib import Path

import pytest

from deepreg_meta.evaluate.protocol.pairs import (
    Method,
    Pair,
    default_methods,
    read_table,
)


def table(folder, text):
    path = folder / "pairs.csv"
    path.write_text(text)
    return path


def test_a_table_names_images_and_what_else_there_is(tmp_path):
    path = table(
        tmp_path,
        "case, fixed, moving, fixed_label, moving_label, field\n"
        "one, us/1.nii.gz, mr/1.nii.gz, us/1_seg.nii.gz, mr/1_seg.nii.gz, 1/ddf.h5\n"
        ", us/LungCT_0002_0000.nii.gz, mr/LungCT_0002_0001.nii.gz, , ,\n",
    )
    pairs = read_table(path, tmp_path, tmp_path / "fields", labels=None)
    assert pairs.name == "pairs" and pairs.shape is None
    first, second = pairs.pairs
    assert first.name == "one"
    assert first.images == (tmp_path / "us/1.nii.gz", tmp_path / "mr/1.nii.gz")
    assert first.labels == (tmp_path / "us/1_seg.nii.gz", tmp_path / "mr/1_seg.nii.gz")
    assert first.fields == (tmp_path / "fields/1/ddf.h5",)
    assert second.name == "0002_0002" and second.labels is None
    names = [place.name for place in second.fields]
    assert names[:3] == [f"disp_0002_0002{end}" for end in (".npz", ".nii.gz", ".h5")]
    assert {place.parent for place in second.fields} == {tmp_path / "fields"}


def test_landmarks_and_fields_start_from_the_folder_of_the_data(tmp_path):
    path = table(
        tmp_path,
        "fixed,moving,fixed_landmarks,moving_landmarks\na.nii,b.nii,a.fcsv,b.fcsv\n",
    )
    (pair,) = read_table(path, Path("data"), None, labels=None).pairs
    assert pair.points == {"landmarks": (Path("data/a.fcsv"), Path("data/b.fcsv"))}
    assert pair.name == "a_b" and pair.fields[1] == Path("data/disp_a_b.nii.gz")


def test_metrics_are_those_that_the_files_allow():
    images = Path("a"), Path("b")
    plain = Pair("1", images, ())
    rich = Pair("2", images, (), labels=images, points={"landmarks": images})
    deviation = Method("LogJacDetStd", "sdlogj")
    assert default_methods((plain,), None) == (deviation,)
    assert default_methods((plain, rich), (1, 2)) == (
        deviation,
        Method("TRE_lm", "tre", points="landmarks"),
        Method("DSC", "dice", (1, 2)),
        Method("HD95", "hd95", (1, 2)),
    )


def test_missing_files_are_named_together(tmp_path):
    (tmp_path / "fixed.nii").touch()
    pair = Pair(
        "one",
        (tmp_path / "fixed.nii", tmp_path / "moving.nii"),
        (tmp_path / "disp_1_2.npz", tmp_path / "disp_1_2.nii.gz"),
        points={"landmarks": (tmp_path / "f.csv", tmp_path / "fixed.nii")},
    )
    assert [text.removeprefix(f"{tmp_path}/") for text in pair.missing()] == [
        "moving.nii: no such file",
        "f.csv: no such file",
        f"no field disp_1_2.npz or disp_1_2.nii.gz in {tmp_path}",
    ]
    (tmp_path / "disp_1_2.nii.gz").touch()
    assert pair.field_file.name == "disp_1_2.nii.gz"
    assert len(pair.missing()) == 2


def test_a_table_with_other_columns_or_without_lines_is_refused(tmp_path):
    for text in ("fixed,label\na,b\n", "fixed,moving,lable\na,b,c\n", "fixed,moving\n"):
        with pytest.raises(ValueError, match=r"columns fixed, moving .*got \d lines"):
            read_table(table(tmp_path, text), tmp_path, None, None)


def test_all_lines_that_cannot_be_used_are_told_together(tmp_path):
    text = "case,fixed,moving,fixed_label,moving_label\n"
    text += "one,a,,,\ntwo,a,b,c,\nthree,a,b,,\nthree,a,b,,\n"
    with pytest.raises(ValueError, match="cannot be used") as caught:
        read_table(table(tmp_path, text), tmp_path, None, None)
    assert str(caught.value).splitlines()[1:] == [
        "  line 2: moving is empty",
        "  line 3: expected both fixed_label and moving_label, or none",
        "  case three is there more than once",
    ]
