"""experiments/_runs.py: a run is made once, the record waits for all of them, a second series stands beside the first."""

import json
from functools import partial

import _record
import _runs
import pytest


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Start the experiment with these arguments; returns (figures, names of the runs that were computed)."""
    monkeypatch.setattr(_runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(_record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(_runs.torch, "set_num_threads", lambda threads: None)

    def start(*arguments, factor=1, rates=False):
        computed = []

        def work(part, seed):
            computed.append(f"{part} {seed}")
            return factor * (seed + 1)

        def collect(finish, parts):
            jobs = {f"{part} {seed}": partial(work, part, seed) for part in parts for seed in range(2)}
            done = finish(jobs)
            return done and {part: [done[f"{part} {seed}"] for seed in range(2)] for part in parts}

        def tuned(finish, parts):
            return finish({"rate 0": partial(work, "rate", 0)}) and collect(finish, parts)

        runs = _runs.Runs("name", "", ("a", "b"), range(2), list(map(str, arguments)), alone={"b": range(2)})
        return runs.record(tuned if rates else collect), computed

    return start


def recorded(tmp_path, name="name"):
    path = tmp_path / "results" / f"{name}.json"
    return json.loads(path.read_text())["figures"] if path.is_file() else None


def test_shared_work_is_done_once_and_the_record_waits_for_all(made, tmp_path):
    assert made("--seeds", 0) == (None, ["a 0", "b 0"])
    assert made("--only", "a")[1] == ["a 1"] and recorded(tmp_path) is None
    assert made("--seconds", -1) == (None, [])
    assert made()[1] == ["b 1"]
    assert recorded(tmp_path)["a"] == recorded(tmp_path)["b"] == [1, 2]


def test_a_second_series_is_kept_apart_and_recorded_when_complete(made, tmp_path):
    made()
    made("--again", "other", "--seeds", 0, factor=10)
    made()
    assert recorded(tmp_path)["again"] == {"other": {}}
    assert made("--again", "other", "--only", "b", factor=10)[1] == ["b 1"]
    made()
    assert recorded(tmp_path)["again"] == {"other": {"b": {"b": [10, 20]}}}
    assert made("--again", "other", factor=10)[1] == ["a 1"]
    made()
    assert recorded(tmp_path)["a"] == [1, 2]
    assert recorded(tmp_path)["again"] == {"other": {"a": {"a": [10, 20]}, "b": {"b": [10, 20]}}}


def test_a_second_series_takes_the_rates_of_the_first(made):
    assert made(rates=True)[1] == ["rate 0", "a 0", "a 1", "b 0", "b 1"]
    assert made("--again", "other", rates=True)[1] == ["a 0", "a 1", "b 0", "b 1"]


def test_a_trial_leaves_nothing(made, tmp_path):
    figures, computed = made("--try")
    assert figures["a"] == [1, 2] and len(computed) == 4
    assert not (tmp_path / "runs").exists() and recorded(tmp_path) is None


def test_a_part_that_stands_alone_has_a_record_of_its_own(made, tmp_path):
    made("--only", "b", "--seeds", 0)
    assert recorded(tmp_path, "name_b") is None
    made("--only", "b")
    assert recorded(tmp_path, "name_b") == {"b": [1, 2]} and recorded(tmp_path) is None
    made("--only", "a")
    assert recorded(tmp_path, "name_a") is None and recorded(tmp_path) is None
