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

    monkeypatch.setenv("VIL_STATIC", "1")
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


def test_a_readers_notebook_shows_name_and_value(monkeypatch, capsys):
    monkeypatch.delenv("VIL_STATIC", raising=False)
    monkeypatch.setitem(sys.modules, "myst_nb", None)
    teach.glue("accuracy", torch.tensor(0.98766))
    teach.glue("words", "three of five")
    assert capsys.readouterr().out == "accuracy = 0.9877\nwords = three of five\n"


def test_a_missing_file_is_told_with_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("VIL_RESULTS", str(tmp_path))
    (tmp_path / "speed.json").write_text(json.dumps({"seconds": 2}))
    assert teach.result("speed") == {"seconds": 2}
    with pytest.raises(FileNotFoundError, match="table.csv is not in .*, which holds speed.json"):
        teach.data_file("table.csv")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ch03_recall", r"`python experiments/ch03_recall\.py`"),
        ("ch11_fashion", "the script of experiments/ that records it"),  # of ch11_training.py, not of ch11_fashion.py
    ],
)
def test_missing_result_names_what_makes_it(tmp_path, monkeypatch, name, said):
    monkeypatch.setenv("VIL_RESULTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"make it with {said} in a checkout"):
        teach.result(name)
