"""The figures of the landing page show what they say."""

import json
import re
from pathlib import Path

import landing
import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORD = json.loads((ROOT / "book/results/landing_scene.json").read_text(encoding="utf-8"))["figures"]


def test_as_many_pairs_as_the_matrix_is_wide_come_back_and_one_more_does_not():
    assert all(landing.error(n) < 1e-9 for n in range(1, landing.WIDTH + 1))
    assert all(landing.error(n) > 0.1 for n in range(landing.WIDTH + 1, landing.MOST + 1))


@pytest.mark.parametrize("stored", [1, 8, 9, 16])
def test_the_words_of_a_state_tell_its_error(stored):
    words = landing.memory_words(stored)
    assert words.startswith(f"A matrix of 8 × 8 numbers that holds {stored} pair")
    told = re.search(r"error of (\d+) %", words)
    assert (told is None) == (stored <= 8)
    assert told is None or int(told[1]) == round(100 * landing.error(stored))


def test_the_scene_is_the_recorded_one_and_its_counts_are_those_of_the_boxes():
    shown = RECORD["shown"]
    scene = landing.airfield.scene(index=shown["index"], **RECORD["scene"])
    assert [scene.names[label] for label in scene.labels] == [true["name"] for true in shown["true"]]
    assert scene.boxes.round(1).tolist() == [true["box"] for true in shown["true"]]
    assert shown["right"] == sum(box["right"] for box in shown["found"]) == sum(true["found"] for true in shown["true"])
    assert shown["right"] == max(RECORD["right"]) and len(shown["true"]) == RECORD["aircraft"][shown["index"]]
    words = landing.detections(ROOT)[1]
    for number in (
        RECORD["without ViL"]["right"],
        shown["right"],
        sum(RECORD["right"]),
        sum(RECORD["aircraft"]),
        len(RECORD["right"]),
    ):
        assert re.search(rf"\b{number}\b", words), words
