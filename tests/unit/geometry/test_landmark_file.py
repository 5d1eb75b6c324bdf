"""Tests of files of landmarks against what 3D Slicer writes and demands."""

import json

import numpy as np
import pytest

from deepreg_meta.geometry.affine import GeometryError
from deepreg_meta.geometry.landmark_file import (
    format_csv,
    format_markups,
    parse_csv,
    parse_fcsv,
    parse_markups,
)
from tests.unit.geometry.places import PAIRS, PLANES

GRID = PAIRS["oblique"][0]

# as 3D Slicer 5 and 4.10 write them
FCSV = """\
# Markups fiducial file version = 5.0
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,10.5,-20.25,30,0,0,0,1,1,1,0,F-1,,,2,0
vtkMRMLMarkupsFiducialNode_2,1e1,2,3,0,0,0,1,1,1,0,"base, left",,vtkMRMLScalar
"""


def markups(point=None, **markup):
    point = {
        "id": "1",
        "label": "F-1",
        "position": [10.5, -20.25, 30.0],
        **(point or {}),
    }
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "controlPoints": [point],
        **markup,
    }
    return json.dumps({"@schema": "...", "markups": [markup]})


@pytest.mark.parametrize("system, sign", [("LPS", -1), ("RAS", 1), ("0", 1), ("1", -1)])
def test_the_coordinate_system_is_that_of_the_head(system, sign):
    names, points = parse_fcsv(FCSV.format(system=system))
    assert names == ("F-1", "base, left")
    expected = [[sign * 10.5, sign * -20.25, 30], [sign * 10, sign * 2, 3]]
    np.testing.assert_array_equal(points, expected)
    names, points = parse_markups(markups(coordinateSystem=system))
    assert names == ("F-1",)
    np.testing.assert_array_equal(points, expected[:1])


def test_markups_without_a_system_are_lps_by_their_schema():
    text = markups().replace('"coordinateSystem": "LPS", ', "")
    assert "coordinateSystem" not in text
    np.testing.assert_array_equal(parse_markups(text)[1], [[-10.5, 20.25, 30]])


def test_points_without_a_label_go_by_their_id():
    assert parse_markups(markups({"label": ""}))[0] == ("1",)
    text = FCSV.format(system="RAS").replace("F-1", "")
    assert parse_fcsv(text)[0] == ("1", "base, left")


def test_an_empty_list_has_no_points():
    names, points = parse_markups(markups(controlPoints=[]))
    assert names == () and points.shape == (0, 3)


def test_written_markups_have_what_slicer_demands(rng):
    text = format_markups(("apex", "base"), np.array([[1.5, 2, 3], [-4, 5, -6]]))
    content = json.loads(text)
    assert content["@schema"].endswith("/markups-schema-v1.0.3.json#")
    (markup,) = content["markups"]
    assert markup["type"] == "Fiducial" and markup["coordinateSystem"] == "LPS"
    assert markup["coordinateUnits"] == "mm"
    assert markup["lastUsedControlPointNumber"] == 2
    first, second = markup["controlPoints"]
    assert (first["id"], first["label"]) == ("1", "apex")
    assert first["position"] == [-1.5, -2, 3] and second["position"] == [4, -5, -6]
    assert len(first["orientation"]) == 9 and first["positionStatus"] == "defined"
    assert all(first[key] is True for key in ("selected", "visibility"))
    names, points = parse_markups(text)
    assert names == ("apex", "base")
    np.testing.assert_array_equal(points, [[1.5, 2, 3], [-4, 5, -6]])


def test_written_tables_state_lps():
    text = format_csv(("apex",), np.array([[1.5, 2, 3]]))
    assert text == "name,x_lps_mm,y_lps_mm,z_lps_mm\napex,-1.5,-2.0,3.0\n"


@pytest.mark.parametrize(
    "header, sign",
    [
        ("name,x_ras,y_ras,z_ras", 1),
        ("label, X_RAS_mm, Y_RAS_mm, Z_RAS_mm", 1),
        ("name,x_lps,y_lps,z_lps", -1),
        ("name,x_lps_mm,y_lps_mm,z_lps_mm", -1),
    ],
)
def test_the_columns_of_a_table_state_the_system(header, sign):
    names, points = parse_csv(f"{header}\napex,1,2,3\nbase, 4, 5, 6\n", None)
    assert names == ("apex", "base")
    np.testing.assert_array_equal(
        points, [[sign, 2 * sign, 3], [4 * sign, 5 * sign, 6]]
    )


def test_voxel_indices_are_placed_by_the_image():
    names, points = parse_csv("i,j,k\n1,2,3.5\n", GRID)
    assert names == ("1",)
    np.testing.assert_allclose(points, [GRID.to_world([1, 2, 3.5])])
    with pytest.raises(GeometryError, match="i, j, k count voxels: name the image"):
        parse_csv("i,j,k\n1,2,3\n", None)


@pytest.mark.parametrize(
    "text",
    ["name,x,y,z\na,1,2,3\n", "", "x_ras,y_ras,z_ras,i,j,k\n", "x_ras,y_lps,z_ras\n"],
)
def test_a_table_without_one_system_is_refused_and_told_how(text):
    with pytest.raises(GeometryError, match="state one coordinate system, x_ras.*LPS"):
        parse_csv(text, GRID)


@pytest.mark.parametrize("row", ["a,1,2", "a,1,2,", "a,1,2,x"])
def test_a_row_without_three_numbers_is_refused(row):
    with pytest.raises(GeometryError, match="expected three coordinates for 'a', got"):
        parse_csv(f"name,x_ras,y_ras,z_ras\n{row}\n", None)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "markups with a list of points"),
        ('{"markups": ["a"]}', "markups with a list of points"),
        (markups(type="Plane"), "type Fiducial .* got 'Plane'"),
        (markups(coordinateUnits="um"), "in mm, got 'um'"),
        (markups(coordinateSystem="IJK"), "RAS or LPS, got 'IJK'"),
        (markups({"position": [1, 2]}), r"three coordinates for 'F-1', got \[1, 2\]"),
        (markups({"position": None}), "three coordinates for 'F-1', got None"),
        (
            markups({"positionStatus": "undefined"}),
            "three coordinates for 'F-1', got N",
        ),
    ],
)
def test_markups_that_say_no_place_are_refused(text, message):
    with pytest.raises(GeometryError, match=message):
        parse_markups(text)


@pytest.mark.parametrize(
    "text, message",
    [
        (FCSV.format(system="2"), "RAS or LPS, got '2'"),
        (FCSV.replace("# Coo", "# coo"), "a line `# CoordinateSystem = ...`"),
        (FCSV.replace("# columns", "# names").format(system=0), "`# columns = ...`"),
        (FCSV.format(system=0).replace("30", "x"), "three coordinates for 'F-1'"),
        (FCSV.format(system=0) + "3,1,2\n", "three coordinates for '3'"),
    ],
)
def test_a_fcsv_file_that_says_no_place_is_refused(text, message):
    with pytest.raises(GeometryError, match=message):
        parse_fcsv(text)


def test_of_a_2d_image_two_indices_are_enough():
    grid = PLANES["turned in the plane"][0]
    names, points = parse_csv("name,i,j\na,2,3.5\nb,0,1\n", grid)
    assert names == ("a", "b")
    expected = grid.to_world([[2, 3.5, 0], [0, 1, 0]])
    np.testing.assert_allclose(points, expected)
    with pytest.raises(GeometryError, match=r"2-D image, got .*: add a column k"):
        parse_csv("name,i,j\na,2,3\n", GRID)
