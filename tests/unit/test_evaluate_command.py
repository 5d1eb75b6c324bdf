"""deepreg_meta.evaluate_fields: from a table of pairs to the files of the scores."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from deepreg_meta.evaluate_fields import evaluate, main
from tests.unit.evaluate.protocol.challenge_data import displacement, write_data


@pytest.fixture
def data(tmp_path):
    """A folder of the challenge's form, and a table of two of its pairs."""
    config, dataset = write_data(tmp_path)
    lines = ["case,fixed,moving,fixed_label,moving_label,field"]
    for name, fixed, moving, field in (
        ("first", "0001_0000", "0001_0001", ""),
        ("second", "0003_0001", "0001_0000", "disp_0003_0001_0001_0000.nii.gz"),
    ):
        files = [
            f"{kind}Tr/Tiny_{image}.nii.gz"
            for kind in ("images", "labels")
            for image in (fixed, moving)
        ]
        lines.append(",".join([name, *files, field]))
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return tmp_path, config, dataset


def run(folder, cases, protocol, *more):
    """:return: exit status, and the folder of the results."""
    output = folder / "scores"
    arguments = ["--cases", str(cases), "--protocol", protocol, "--output", str(output)]
    return main([*arguments, "--fields", str(folder / "fields"), *more]), output


def read(output, name):
    return pd.read_csv(output / f"{name}.csv", index_col=0)


def test_both_protocols_score_a_data_set_into_files_of_their_own(data, capsys, caplog):
    caplog.set_level("INFO")
    folder, config, dataset = data
    for cases, protocol in ((config, "learn2reg"), (dataset, "physical")):
        status, output = run(folder, cases, protocol)
        assert status == 0
        assert f"The scores are in {output}" in caplog.records[-1].getMessage()
    assert "DSC" in capsys.readouterr().out
    theirs, ours = read(output, "learn2reg_cases"), read(output, "physical_cases")
    assert list(theirs.index) == list(ours.index) and len(ours) == 3
    assert not set(theirs) & set(ours)  # never a column of both
    last = "0003_0001<--0001_0000"
    assert theirs.loc[last, "num_foldings"] == 0 < ours.loc[last, "folds_registered"]
    assert theirs.loc[last, "HD95"] == pytest.approx(2.63097)
    # all labels lie away from the border here, where the protocols differ
    np.testing.assert_allclose(theirs["DSC"], ours["dsc_registered"], rtol=1e-5)


def test_a_table_of_files_is_scored_as_the_data_set(data):
    folder, _, dataset = data
    for protocol, column in (("learn2reg", "LogJacDetStd"), ("physical", "dsc_before")):
        assert run(folder, dataset, protocol)[0] == 0
        expected = read(folder / "scores", f"{protocol}_cases")[column]
        assert run(folder, folder / "pairs.csv", protocol)[0] == 0
        found = read(folder / "scores", f"{protocol}_cases")[column]
        assert list(found.index) == ["first", "second"]
        np.testing.assert_array_equal(found, expected.iloc[[0, 2]])


def test_all_problems_are_told_at_once_before_anything_is_scored(data, caplog):
    folder, _, dataset = data
    (folder / "fields" / "disp_0001_0001.nii.gz").unlink()
    (folder / "labelsTr" / "Tiny_0002_0000.nii.gz").unlink()
    field = displacement(2)
    field[3, 2, 1] = np.nan
    path = folder / "fields" / "disp_0003_0001_0001_0000.nii.gz"
    nib.save(nib.Nifti1Image(field, np.eye(4)), path)
    for protocol in ("learn2reg", "physical"):
        caplog.clear()
        status, output = run(folder, dataset, protocol)
        assert status == 2 and not output.exists()
        (message,) = [record.getMessage() for record in caplog.records]
        first, *lines = message.splitlines()
        assert "3 problems with the files of 3 pairs" in first
        assert "0001_0000<--0001_0001: no field disp_0001_0001.npz" in lines[0]
        assert "labelsTr/Tiny_0002_0000.nii.gz: no such file" in lines[1]
        assert f"{path}: expected" in lines[2] and "finite" in lines[2]


@pytest.mark.parametrize("protocol", ["learn2reg", "physical"])
def test_bare_landmarks_without_partners_are_told_with_all_else(data, caplog, protocol):
    folder, _, dataset = data
    path = folder / "landmarksTr" / "Tiny_0001_0001.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    (folder / "labelsTr" / "Tiny_0001_0001.nii.gz").unlink()  # of the same pair
    (folder / "fields" / "disp_0003_0001_0001_0000.nii.gz").unlink()
    status, output = run(folder, dataset, protocol)
    assert status == 2 and not output.exists()
    first, *lines = caplog.records[-1].getMessage().splitlines()
    assert "3 problems" in first and len(lines) == 3
    assert "Tiny_0001_0001.nii.gz: no such file" in lines[0]
    assert f"Tiny_0001_0000.csv and {path}: expected as many landmarks" in lines[1]
    assert "got 4 and 3." in lines[1]
    assert "no field disp_0003_0001_0001_0000" in lines[2]


@pytest.mark.parametrize("protocol", ["learn2reg", "physical"])
def test_chosen_labels_that_no_pair_has_are_refused(data, caplog, protocol):
    folder, _, dataset = data
    status, output = run(folder, dataset, protocol, "--labels", "1", "9", "0")
    assert status == 2 and not output.exists()
    message = caplog.records[-1].getMessage()
    assert "which are 1, 2, 3; got 0, 9, in no label of any pair" in message
    assert run(folder, dataset, protocol, "--labels", "3")[0] == 0  # of some pairs


def test_chosen_labels_without_any_label_are_refused(data, caplog):
    folder = data[0]
    table = folder / "bare.csv"
    images = [f"imagesTr/Tiny_0001_000{number}.nii.gz" for number in (0, 1)]
    table.write_text(f"fixed,moving,field\n{','.join(images)},disp_0001_0001.nii.gz\n")
    assert run(folder, table, "physical")[0] == 0
    assert run(folder, table, "physical", "--labels", "1")[0] == 2
    assert "which are none; got 1" in caplog.records[-1].getMessage()


def test_fields_of_another_shape_are_refused_by_both_protocols(data, caplog):
    folder, config, _ = data
    path = folder / "fields" / "disp_0001_0001.nii.gz"
    nib.save(nib.Nifti1Image(displacement(0)[:-1], np.eye(4)), path)
    for protocol in ("learn2reg", "physical"):
        assert run(folder, config, protocol)[0] == 2
        assert "(8, 10, 11, 3)" in caplog.records[-1].getMessage()


@pytest.mark.parametrize(
    "more, message",
    [
        (["--data", "absent"], "--data: expected a folder, found no absent"),
        (["--cases", "absent.csv"], "--cases: expected a table, found no file"),
        (["--masked", "--protocol", "physical"], "--masked: expected --protocol lear"),
        (["--split", "val"], "are for the challenge's JSON files, got the table"),
        (["--output", "pairs.csv"], "--output: expected a folder, got the file"),
    ],
)
def test_arguments_that_cannot_be_used_end_the_command(
    data, caplog, monkeypatch, more, message
):
    monkeypatch.chdir(data[0])
    assert run(data[0], "pairs.csv", "physical", *more)[0] == 2
    assert message in caplog.records[-1].getMessage()


def test_another_protocol_is_refused(data):
    with pytest.raises(ValueError, match="learn2reg or physical, got 'l2r'"):
        evaluate("l2r", data[1], data[0] / "scores")


def test_the_command_needs_no_tensorflow():
    code = (
        "import sys\n"
        "from deepreg_meta.evaluate_fields import build_parser, _protocol\n"
        "build_parser(); before = set(sys.modules)\n"
        "_protocol('learn2reg'); _protocol('physical')\n"
        "import deepreg_meta.geometry.transform_file\n"
        "assert 'numpy' not in before, 'the parser alone imports NumPy'\n"
        "assert not {'tensorflow', 'tf_keras', 'deepreg'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
