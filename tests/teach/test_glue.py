"""Numbers for the prose: from the page, and from recorded runs."""

import json
import sys

import numpy as np
import pytest
import torch

from vil_lite import teach


@pytest.fixture
def glued(monkeypatch):
    import myst_nb

    seen = {}
    monkeypatch.setattr(myst_nb, "glue", lambda name, value, display: seen.__setitem__(name, value))
    return seen


def test_scalars_reach_the_prose_as_plain_numbers(glued):
    teach.glue("a", torch.tensor(0.5))
    teach.glue("b", np.float64(0.25))
    teach.glue("c", "text")
    teach.glue("d", torch.arange(3))
    assert (glued["a"], glued["b"], glued["c"]) == (0.5, 0.25, "text")
    assert [type(glued[n]) for n in "ab"] == [float, float]
    assert torch.equal(glued["d"], torch.arange(3))


def test_without_myst_nb_glue_does_nothing_or_prints(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    teach.glue("accuracy", 0.9)
    assert capsys.readouterr().out == ""
    teach.glue("accuracy", 0.9, display=True)
    assert capsys.readouterr().out == "accuracy: 0.9\n"


def test_result_is_found_from_a_folder_of_the_book(tmp_path, monkeypatch):
    monkeypatch.delenv("VIL_RESULTS", raising=False)
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "part1").mkdir()
    (tmp_path / "book" / "results" / "speed.json").write_text(json.dumps({"seconds": 2}))
    monkeypatch.chdir(tmp_path / "book" / "part1")
    assert teach.result("speed") == {"seconds": 2}


def test_missing_result_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("VIL_RESULTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"python experiments/nothing\.py"):
        teach.result("nothing")
