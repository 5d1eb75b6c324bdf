"""What the parts make of the seconds that they measured; nothing is timed here."""

import numpy as np
import pytest


@pytest.fixture
def fake(load, monkeypatch):
    """Return a function that gives the rows of a part from seconds that it is told."""

    def rows(name: str, found: dict | Exception, *others: dict) -> list[dict]:
        module, answers = load(name), iter([found, *others])

        def measured(part: str, quick: bool, **options: object) -> dict:
            answer = next(answers, others[-1] if others else found)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(module, "measured", measured)
        table = module.run(quick=not isinstance(found, Exception))
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    return rows


def test_steps_are_compared_with_both_networks(load, fake):
    seconds = {"plain": [0.2, 0.4], "affine maps, sparse frames": [0.3, 0.6],
               "network": [0.1, 0.2], "DeepReg's network": [0.15, 0.3],
               "DeepReg": [0.5, 1.0]}  # fmt: skip
    plain, drawn = fake("steps", seconds)[:2]
    assert plain["step"] == pytest.approx((300, 220, 380))
    assert plain["step / network"] == pytest.approx((2, 2, 2))
    assert plain["step / DeepReg's network"] == pytest.approx((4 / 3,) * 3)
    assert plain["DeepReg's step / step"] == pytest.approx((2.5,) * 3)
    assert drawn["step / network"] == pytest.approx((3, 3, 3))
    assert drawn["DeepReg's step"] is None  # it draws nothing


def test_a_step_of_deepreg_that_does_not_fit_leaves_ours(load, fake):
    seconds = {"plain": [0.2], "affine maps, sparse frames": [0.3], "network": [0.1],
               "DeepReg's network": [0.1]}  # fmt: skip
    rows = fake("steps", load("child").ChildError("killed"), seconds)
    assert rows[0]["DeepReg's step"] is None
    assert rows[0]["step / network"].middle == pytest.approx(2)


def test_calls_of_two_parts_are_split_and_the_rest_is_what_remains(load):
    """ms: 3 + (10 - 3) + 2 + 4 + 1 = 17 of the 20 of the step."""
    parts = load("parts")
    timed = {parts.FORWARD: 3, parts.BOTH: 10, parts.DRAW: 2, parts.AFTER: 4,
             parts.WARPING: 1.5, parts.WARPED_LABEL: 2.25, parts.FIELD: 1,
             parts.OPTIMISER: 1, parts.STEP: 20}  # fmt: skip
    found = parts.split({name: np.array([value]) for name, value in timed.items()})
    assert tuple(found) == parts.ORDER
    assert found[parts.BACKWARD] == 7
    assert found[parts.LABEL] == 0.75
    assert found[parts.REST] == 3


def test_an_episode_is_compared_with_k_steps(fake):
    first, third = fake("episodes", {"step": [0.1, 0.2], "1": [0.12, 0.24],
                                     "3": [0.33, 0.66]})  # fmt: skip
    assert (first["k"], third["k"]) == (1, 3)
    assert first["episode / k inner steps"].middle == pytest.approx(1.2)
    assert third["episode / k inner steps"].middle == pytest.approx(1.1)
    assert third["inner step"].middle == pytest.approx(150)


def test_an_adaptation_is_compared_with_the_network_alone(fake):
    seconds = dict(first=[9.0], whole=[1.1, 2.2], prediction=[0.1, 0.1],
                   network=[1.0, 2.0])  # fmt: skip
    rows = fake("adaptation", seconds)
    assert [row["frames"] for row in rows] == ["all", "sweep"]
    assert rows[0]["first call"] == 9.0
    whole = "adaptation and prediction / network alone"
    assert rows[0][whole].middle == pytest.approx(1.1)


def test_every_form_of_the_layer_is_compared_with_the_network_without_it(load, fake):
    layer = load("layer")
    alone = {layer.WITHOUT: [0.1, 0.2]}
    image = {**alone, "separable": [0.11, 0.22], "penalty": [0.13, 0.26],
             "cholesky": [0.14, 0.28], "radial": [0.15, 0.3]}  # fmt: skip
    slow = {name: [10 * value for value in values] for name, values in image.items()}
    slow["separable"] = [2.0, 4.0]
    rows = fake("layer", {"prediction": image, "training step": slow},
                {"prediction": {**alone, "radial": [0.3, 0.6]},
                 "training step": alone})  # fmt: skip
    assert [row["timed"] for row in rows] == ["prediction", "training step"] * 2
    names = [f"{form} / without" for form in layer.FORMS]
    first, second, third, last = ([row[name] for name in names] for row in rows)
    assert [ratio.middle for ratio in first] == pytest.approx([1.1, 1.3, 1.4, 1.5])
    assert second[0].middle == pytest.approx(2)
    assert rows[1][layer.WITHOUT] == pytest.approx((1500, 1100, 1900))
    assert third[:3] == [None] * 3 and third[3] == pytest.approx((3, 3, 3))
    assert last == [None] * 4


def test_a_call_is_divided_by_its_steps(load):
    """k m = 6 of the episode, 8 updates, both, and one step of DeepReg's."""
    memory = load("memory")
    columns, found = list(memory.COLUMNS), {}
    for what in (memory.EPISODE, memory.ADAPTATION, memory.BOTH, memory.DEEPREG):
        measured = [dict(peak_mib=100.4, seconds=0.84)]
        row = memory.row_of(memory.Job(what, memory.TINY, k=3, m=2), measured)
        found[what] = dict(zip(columns, row, strict=True))
    steps = [0.84 / row["call / step"] for row in found.values()]
    np.testing.assert_allclose(steps, [6, 8, 14, 1])
    assert [row["k"] for row in found.values()] == [3, None, 3, None]
    assert {row["peak"] for row in found.values()} == {100}


def test_what_needs_too_much_memory_is_a_row_without_figures(load, fake):
    error = load("child").ChildError("killed")
    rows = fake("memory", error, dict(peak_mib=5.0, seconds=1.0))
    assert [row["peak"] for row in rows[:2]] == [None, 5]
    largest = [r for r in rows if r["what"] == "episode, then adaptation"]
    assert {row["fixed grid"] for row in largest} == {"128 x 128 x 128"}
    assert largest[0]["backbone"] == "LocalNet, 16 channels"


def test_one_thing_grows_at_a_time(load):
    """From the same episode: volume, k, m, scales, labels."""
    memory = load("memory")
    one = memory.Job(memory.EPISODE, memory.SMALL, processes=3)
    jobs = memory.jobs(quick=False)
    rest = jobs[jobs.index(one) :]
    for job in rest:
        size = (job.setting.scales != one.setting.scales) + (job.k != 1)
        assert size + (job.m != 1) + (job.labels != 1) <= 1
    assert {job.k for job in rest} == {1, 10, 50}
    assert {job.m for job in rest} == {1, 2, 4}
    assert {job.labels for job in rest} == {1, 4, 8}
    assert {len(job.setting.scales) for job in rest} == {1, 4, 7}
    cubes = [
        job for job in jobs if job == one._replace(setting=job.setting, processes=1)
    ]
    sides = [job.setting.fixed for job in cubes if len(set(job.setting.fixed)) == 1]
    assert sides == [(n, n, n) for n in (32, 48, 64, 96, 128)]


def test_stages_of_the_start_are_the_times_between_marks(load):
    startup, timing = load("startup"), load("timing")
    marks = {"imports": 3.0, "phantom found or written": 3.5, "data checked": 4.0,
             "model built": 6.0, "first episode": 16.0, "exit": 17.0}  # fmt: skip
    later = {name: value + 1 for name, value in marks.items()}
    table = timing.Table("", startup.COLUMNS)
    startup.add_rows(table, "train", [marks, later])
    rows = {row[1]: row[2:] for row in table.rows}
    assert list(rows) == list(marks)
    assert rows["imports"][0].middle == pytest.approx(3.5)
    assert rows["first episode"][0] == pytest.approx((10, 10, 10))
    assert rows["exit"][1].middle == pytest.approx(17.5)


def test_the_overlay_is_the_smallest_run_of_the_shipped_configuration(load, tmp_path):
    import yaml

    from deepreg_meta.config import load_config

    startup = load("startup")
    for quick in (True, False):
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(startup.overlay(quick)))
        shipped = startup.ROOT / "config" / "meta_trus.yaml"
        config = load_config([str(shipped), str(tmp_path / "own.yaml")])
        assert config.phantom.num_train == 2
        assert config.reptile_train.meta.inner_steps == 1
        assert np.prod(config.dataset.fixed_shape) == (2688 if quick else 50688)


def test_several_processes_give_a_median_and_its_spread(load):
    memory = load("memory")
    measured = [dict(peak_mib=peak, seconds=peak / 100) for peak in (110, 100, 105)]
    job = memory.Job(memory.EPISODE, memory.TINY, processes=3)
    row = dict(zip(memory.COLUMNS, memory.row_of(job, measured), strict=True))
    assert row["peak"] == pytest.approx((105, 101, 109))
    assert row["call"] == 1.05
