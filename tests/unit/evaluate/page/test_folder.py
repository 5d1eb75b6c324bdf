"""The whole report: deepreg_meta.evaluate.page.folder and the parts that it joins."""

import base64
import re
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepreg_meta.evaluate.page import folder as report
from deepreg_meta.evaluate.page import metric_part
from deepreg_meta.evaluate.page.gather import gather
from tests.report_helpers import ADAPTED, BEFORE, Page, case_rows, write_run


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report of two runs, the second one with six of seven cases."""
    base = tmp_path_factory.mktemp("runs")
    write_run(base / "k1" / "test")
    write_run(base / "k9" / "test", case_rows(gain=0.01)[:6], pictures=("case4",))
    output = base / "report"
    page = report.write_report(gather([base / "k1", base / "k9"]), output)
    assert page == output / "report.html"
    return output


@pytest.fixture(scope="module")
def page(written):
    """The HTML page, parsed."""
    return Page((written / "report.html").read_text(encoding="utf-8"))


def test_the_folder_holds_page_markdown_tables_and_plots(written):
    assert {path.name for path in written.iterdir()} == {
        "report.html", "report.md", "cases.csv", "summary.csv", "comparisons.csv",
        "plots",
    }  # fmt: skip
    assert {path.name for path in (written / "plots").iterdir()} == {
        "dsc.svg", "tre.svg", "folds.svg", "jacobian_min.svg", "adaptation.svg",
    }  # fmt: skip


def test_the_page_is_whole_and_needs_nothing_from_outside(page):
    assert page.errors == []
    assert not page.attributes("script") and not page.attributes("link")
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for _, attrs in page.tags:
        for name in ("src", "href", "data", "poster", "action"):
            target = attrs.get(name, "data:")
            assert target.startswith("data:") or target[1:] in ids, target
        assert not any(name.startswith("on") for name in attrs)
    heads = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert heads[0] == 1 and heads.count(1) == 1
    steps = zip(heads, heads[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps)


def test_every_picture_has_words_and_can_be_seen(page):
    images = page.attributes("img")
    assert len(images) == 5 + 2 + 1  # plots, pictures of the first and second run
    for image in images:
        head, data = image["src"].split(",")
        content = base64.b64decode(data)
        assert image["alt"]
        if head == "data:image/svg+xml;base64":
            root = ElementTree.fromstring(content)
            assert float(root.get("width").removesuffix("pt")) > 0
            shapes = [e for e in root.iter() if e.tag.endswith(("path", "use"))]
            assert len(shapes) > 20
        else:
            picture = Image.open(BytesIO(content))
            assert head == f"data:{Image.MIME[picture.format]};base64"
            pixels = np.asarray(picture.convert("RGB"))
            expected = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
            np.testing.assert_array_equal(pixels, expected)


def test_numbers_of_the_page_are_those_of_the_rows(page):
    mean, sd = np.mean(ADAPTED), np.std(ADAPTED, ddof=1)
    assert page.row("Dice by case", "k1: adapted") == [
        "k1: adapted", "7", f"{mean:.3f}", f"{sd:.3f}", "0.880", "0.825 to 0.905",
    ]  # fmt: skip
    own = np.mean(ADAPTED[:6]) + 0.01
    assert page.row("Dice by case", "k9: adapted")[1:3] == ["6", f"{own:.3f}"]
    # 4 + 6 + 8 + 12 + 2 + 4 over 6 cases
    assert page.row("Target registration error (mm) by case", "before")[1:3] == [
        "6", "6.00",
    ]  # fmt: skip
    glance = page.row("Mean ± SD over cases", "Dice")
    assert glance[1] == f"{np.mean(BEFORE):.3f} ± {np.std(BEFORE, ddof=1):.3f}"
    # one of seven cases folds in 1.25 % of its voxels
    assert page.row("Mean ± SD over cases", "Folding voxels (%)")[4].startswith("0.179")


def test_the_comparison_of_the_page_is_that_of_the_table(page, written):
    table = pd.read_csv(written / "comparisons.csv").set_index(["metric", "method"])
    row = table.loc[("dsc", "k1: adapted")]
    difference = np.subtract(ADAPTED, np.add(BEFORE, 0.2))
    assert row["mean_difference"] == pytest.approx(difference.mean(), rel=1e-5)
    shown = page.row(
        "Dice: difference from centroids (higher is better)", "k1: adapted"
    )
    assert shown[1:4] == ["7", "0", f"{difference.mean():.3f}"]
    assert shown[4] == f"{row['ci_low']:.3f} to {row['ci_high']:.3f}"
    names = ("p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm")
    assert shown[5:9] == [
        "< 0.001" if row[name] < 0.001 else f"{row[name]:.3f}" for name in names
    ]
    assert shown[9] == f"{(difference > 0).sum()} of 7"
    # the seventh case has no result of the second run
    other = page.row("Dice: difference from centroids", "k9: adapted")
    assert other[1:3] == ["6", "1"]


def test_markdown_and_tables_say_the_same(page, written):
    text = (written / "report.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]
    for caption, table in page.tables.items():
        for row in table:
            assert row in rows, caption
    for name in ("dsc", "adaptation"):
        assert f"](plots/{name}.svg)" in text
    summary = pd.read_csv(written / "summary.csv", keep_default_na=False)
    own = summary[(summary.metric == "dsc") & (summary.level == "case")]
    for _, row in own.iterrows():
        cells = next(r for r in rows if r[0] == row["method"] and len(r) == 6)
        assert cells[1:4] == [str(row["n"]), *(
            f"{float(row[key]):.3f}" for key in ("mean", "sd")
        )]  # fmt: skip


def test_the_csv_of_all_cases_holds_what_the_runs_wrote(written):
    table = pd.read_csv(written / "cases.csv")
    own = table[
        (table.run == "k1") & (table.metric == "dsc") & (table.stage == "adapted")
    ]
    assert own["value"].tolist() == list(ADAPTED)
    assert set(table["split"]) == {"test"}


def test_the_settings_of_the_runs_are_told(page):
    caption = "Settings of the runs"
    assert page.row(caption, "checkpoint")[1] == "logs/one/save/ckpt-9"
    assert page.row(caption, "method")[1] == "reptile"
    assert page.row(caption, "adaptation updates")[1] == "2"
    assert page.row(caption, "labels that adaptation saw")[1] == "channel 0 (gland)"
    assert page.row(caption, "data")[1] == "data/test"
    assert page.row(caption, "initial alignment")[1] == "mode sections, label 0"


def test_of_updates_that_fit_into_a_time_the_time_is_told(tmp_path):
    """The number in the configuration does not count then."""
    folder = write_run(tmp_path / "one" / "test")
    config = folder / "config.yaml"
    config.write_text(f"# adapt-seconds 2.5\n{config.read_text()}")
    output = report.write_report(gather([folder]), tmp_path / "report").parent
    settings = (output / "report.md").read_text().split("## ")[0]
    assert "| adapt-seconds | 2.5 |" in settings
    assert "adaptation updates" not in settings


def test_the_worst_case_comes_first_and_what_is_amiss_is_told(page):
    table = next(t for key, t in page.tables.items() if key.startswith("k1: 7 cases"))
    assert [row[0] for row in table[1:4]] == ["case4", "case2", "case1"]
    assert table[0][:4] == ["case", "what is amiss", "Dice, centroids", "Dice, adapted"]
    assert table[1][1:4] == ["Dice worse than centroids", "0.780", "0.570"]
    folded = next(row for row in table if row[0] == "case3")
    assert "folds: 1.250 % of the voxels" in folded[1]
    missing = page.text.count("There is no picture of this case")
    assert missing == 5 + 5


def test_a_link_leads_from_each_case_to_its_picture(page):
    targets = [attrs["href"][1:] for attrs in page.attributes("a")]
    details = [attrs["id"] for attrs in page.attributes("details")]
    assert targets == details and len(set(details)) == 7 + 6


def test_notices_stand_at_the_head_and_definitions_at_the_end(page):
    assert page.text.index("k9 has no results for 1 of 7") < page.text.index("Metrics")
    last = page.text[page.text.index("How each number is defined") :]
    for words in (
        "target registration error on points", "share of voxels in [0, 1]",
        "gland centroids aligned", "Holm's step-down", "bootstrap", "10th and 90th",
    ):  # fmt: skip
        assert words in last


def test_the_page_states_its_own_size(tmp_path, written):
    path = written / "report.html"
    (size,) = re.findall(r"one file of ([\d.]+) MB", path.read_text(encoding="utf-8"))
    assert float(size) == pytest.approx(path.stat().st_size / 1e6, abs=0.05)


def test_each_split_has_tables_and_plots_of_its_own(tmp_path):
    for split in ("test", "valid"):
        write_run(tmp_path / "one" / split, case_rows()[:6], pictures=())
    report.write_report(gather([tmp_path / "one"]), tmp_path / "report")
    found = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert found.errors == []
    assert "Split test" in found.text and "Split valid" in found.text
    plots = {path.name for path in (tmp_path / "report" / "plots").iterdir()}
    assert {"test_dsc.svg", "valid_dsc.svg"} <= plots
    summary = pd.read_csv(tmp_path / "report" / "summary.csv")
    counts = summary[summary.metric == "dsc"].groupby("split")["n"].first()
    assert counts.to_dict() == {"test": 6, "valid": 6}  # never put together


def test_lengths_in_voxels_are_called_so(tmp_path):
    write_run(tmp_path / "one", unit="vox")
    report.write_report(gather([tmp_path / "one"]), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "Target registration error (voxels)" in text and "(mm)" not in text
    assert "no length here is known in mm" in text


def test_one_registered_pair_makes_a_report_without_tests(tmp_path):
    write_run(tmp_path / "pair", case_rows()[:1], config=None)
    report.write_report(gather([tmp_path / "pair"]), tmp_path / "report")
    found = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert found.errors == []
    assert found.row("Values of 1 case", "Dice")[1:] == [
        "0.500", "0.700", "0.510", "0.900",
    ]  # fmt: skip
    assert (
        found.row("Mean ± SD over the landmarks", "adapted")[1] == "2.00 ± 0.00, n = 2"
    )
    assert "Metrics" not in found.text and "Wilcoxon p" not in str(found.tables)


def test_names_that_look_like_tags_do_no_harm(tmp_path):
    rows = [dict(row, case=f"<b>&{row['case']}") for row in case_rows()]
    write_run(tmp_path / "one", rows, pictures=())
    report.write_report(gather([tmp_path / "one"], ["<i>"]), tmp_path / "report")
    found = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert found.errors == [] and not found.attributes("b") + found.attributes("i")
    assert found.row("<i>: 7 cases", "<b>&case4")[3] == "0.570"


def test_an_earlier_report_is_replaced_and_anything_else_is_not(tmp_path):
    studies = gather([write_run(tmp_path / "one", pictures=())])
    output = tmp_path / "report"
    output.mkdir()
    report.write_report(studies, output)
    (output / "plots" / "valid_hd95.svg").write_text("")  # as reports write them
    report.write_report(studies, output)
    assert not (output / "plots" / "valid_hd95.svg").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"one", "report"}
    with pytest.raises(ValueError, match="--output.*one, which holds something else"):
        report.write_report(studies, tmp_path / "one")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--output.*file, which holds something else"):
        report.write_report(studies, tmp_path / "file")


def test_a_report_that_fails_leaves_the_earlier_one_as_it_was(tmp_path):
    run = write_run(tmp_path / "one")
    output = tmp_path / "report"
    report.write_report(gather([run]), output)
    before = (output / "report.html").read_bytes()
    (run / "case4" / "figure.png").write_bytes(b"no picture")
    with pytest.raises(
        ValueError, match=r"case4.figure\.png: expected a picture"
    ) as caught:
        report.write_report(gather([run]), output)
    assert "BytesIO" not in str(caught.value)
    assert (output / "report.html").read_bytes() == before
    with pytest.raises(ValueError, match="expected a picture"):
        report.write_report(gather([run]), tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"one", "report"}


def test_the_old_report_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path, monkeypatch
):
    studies = gather([write_run(tmp_path / "one", pictures=())])
    output = tmp_path / "report"
    report.write_report(studies, output)
    rename = report.Path.rename

    def fail(self, target):
        if report.Path(target) == output and not self.name.endswith(".old"):
            raise OSError("disk")
        return rename(self, target)

    monkeypatch.setattr(report.Path, "rename", fail)
    with pytest.raises(OSError, match="disk"):
        report.write_report(studies, output)
    assert (output / "report.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"one", "report"}


@pytest.mark.parametrize(
    "name", ["thesis.tex", "plots/mine.svg", "plots/dsc.png", "raw/deep/report.html"]
)
def test_a_report_with_other_files_beside_it_is_not_replaced(tmp_path, name):
    studies = gather([write_run(tmp_path / "one", pictures=())])
    output = tmp_path / "report"
    report.write_report(studies, output)
    (output / name).parent.mkdir(parents=True, exist_ok=True)
    (output / name).write_text("mine")
    with pytest.raises(
        ValueError, match=f"which also holds {re.escape(name)}.*another folder"
    ):
        report.write_report(studies, output)
    assert (output / name).read_text() == "mine"


def test_a_folder_of_results_with_a_page_in_it_is_not_replaced(tmp_path):
    """Five foreign files: three are named, in their order."""
    run = write_run(tmp_path / "one", pictures=("case0",))
    studies = gather([run])
    (run / "report.html").write_text("")
    shown = "adaptation.csv, case0/figure.png, config.yaml and 2 more"
    with pytest.raises(ValueError, match=shown):
        report.write_report(studies, run)
    assert (run / "metrics.csv").is_file() and (run / "case0").is_dir()


def test_a_file_that_comes_while_a_report_is_made_is_kept(tmp_path, monkeypatch):
    studies = gather([write_run(tmp_path / "one", pictures=())])
    output = tmp_path / "report"
    report.write_report(studies, output)
    fill = report._fill

    def fill_and_add(studies, folder):
        fill(studies, folder)
        (output / "late.txt").write_text("")

    monkeypatch.setattr(report, "_fill", fill_and_add)
    with pytest.raises(ValueError, match=r"late\.txt"):
        report.write_report(studies, output)
    assert (output / "late.txt").is_file()


def test_plots_of_metrics_without_a_fixed_name_are_known_as_the_reports_own(tmp_path):
    rows = [dict(row, shine_adapted=i) for i, row in enumerate(case_rows())]
    studies = gather([write_run(tmp_path / "one", rows, pictures=())])
    output = tmp_path / "report"
    for _ in range(2):
        report.write_report(studies, output)
        assert (output / "plots" / "shine.svg").is_file()


def test_a_link_to_another_folder_is_a_foreign_file(tmp_path):
    studies = gather([write_run(tmp_path / "one", pictures=())])
    output = tmp_path / "report"
    report.write_report(studies, output)
    (output / "data").symlink_to(tmp_path / "one", target_is_directory=True)
    with pytest.raises(ValueError, match="which also holds data"):
        report.write_report(studies, output)


def test_the_number_of_values_stands_where_some_cases_have_none(tmp_path):
    """Case 2 has no landmarks; of the curves, two of seven cases have Dice."""
    run = write_run(tmp_path / "one", pictures=())
    lines = (run / "adaptation.csv").read_text().splitlines()
    header, rows = lines[0], [line.split(",") for line in lines[1:]]
    for row in rows:
        row[3] = row[3] if row[0] in ("case0", "case4") else ""
    rows = [",".join(row) for row in rows]
    (run / "adaptation.csv").write_text("\n".join([header, *rows]) + "\n")
    drawn = {}
    with pytest.MonkeyPatch.context() as patch:
        draw = metric_part.step_curves

        def spy(path, histories):
            drawn.update(histories)
            return draw(path, histories)

        patch.setattr(metric_part, "step_curves", spy)
        report.write_report(gather([run]), tmp_path / "report")
    assert {name: len(found[""]) for name, found in drawn.items()} == {
        "Loss": 7, "Dice": 2,
    }  # fmt: skip
    found = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    caption = "Mean ± SD over cases (7 cases)"
    errors = found.row(caption, "Target registration error (mm)")
    assert errors[1] == "6.00 ± 3.58, n = 6"  # of 4, 6, 8, 12, 2 and 4
    assert "n =" not in found.row(caption, "Dice")[1]


def test_dice_of_the_first_of_several_labels_bears_its_name(tmp_path):
    run = write_run(tmp_path / "one", pictures=())
    lines = [f"case{i},{label},0.5" for i in range(7) for label in ("front", "back")]
    (run / "labels.csv").write_text("case,label,dsc_adapted\n" + "\n".join(lines))
    report.write_report(gather([run]), tmp_path / "report")
    found = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert found.row("Mean ± SD over cases", "Dice (front)")
    assert found.row("Dice (front) by case", "adapted")
    assert found.row("Dice (front): difference from centroids", "adapted")
    assert found.row("All numbers of case4", "Dice (front)")[4] == "0.570"
    cases = next(t for key, t in found.tables.items() if key.startswith("one: 7"))
    assert cases[0][3] == "Dice (front), adapted"
    labels = found.tables["Mean ± SD of each label over cases"]
    assert labels[0] == ["label", "method", "Dice"]
    assert "label, front. The other labels (back) are in the table" in found.text


def test_folders_that_are_not_compared_and_two_units_are_told_at_the_head(tmp_path):
    write_run(tmp_path / "one" / "test", pictures=())
    write_run(tmp_path / "results", unit="vox", pictures=())
    runs = [tmp_path / "one" / "test", tmp_path / "results"]
    report.write_report(gather(runs), tmp_path / "report")
    found = Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    head = found.text[: found.text.index("All methods")]
    for words in ("one/test (split test)", "results (no split)", "Lengths are in mm"):
        assert words in head
