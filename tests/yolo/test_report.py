"""The report of detections: one file, complete, safe, readable without eyes."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch
from ultralytics.engine.results import Results

from vil_lite.yolo.report import report

NASTY = '<script>alert("x")</script>'


def result(*boxes, name="scene.png"):
    image = np.full((64, 96, 3), 128, dtype=np.uint8)
    return Results(image, path=f"/images/{name}", names={0: "b52", 1: NASTY}, boxes=torch.tensor(boxes).reshape(-1, 6))


@pytest.fixture
def page(tmp_path):
    boxes = [(10.0, 10, 40, 40, 0.9, 0), (50, 10, 80, 40, 0.5, 1), (5, 5, 20, 30, 0.25, 0)]
    return report((r for r in [result(*boxes), result(name='a "b" & <c>.png')]), tmp_path / "out.html", title="A < B")


def test_it_holds_counts_boxes_and_images_and_fetches_nothing(page):
    text = page.read_text()
    assert "Images: 2. Detections: 3." in text
    assert "<tr><td>b52</td><td>2</td></tr>" in text
    assert "<tr><td>b52</td><td>0.90</td><td>10</td><td>10</td><td>40</td><td>40</td></tr>" in text
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    decoded = [cv2.imdecode(np.frombuffer(base64.b64decode(p), np.uint8), cv2.IMREAD_COLOR) for p in pictures]
    assert [d.shape for d in decoded] == [(64, 96, 3)] * 2
    assert np.ptp(decoded[0]) > 50  # boxes are drawn
    assert np.ptp(decoded[1]) == 0  # where there are none, none are
    assert not re.search(r"https?://|<link|<script|@import|url\(", text)


def test_names_are_text_and_every_image_says_what_it_shows(page):
    tags, alts = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append(tag)
            if tag == "img":
                alts.append(dict(attributes)["alt"])

    Reader().feed(page.read_text())
    assert "script" not in tags
    assert "c" not in tags
    assert alts == [f"scene.png, detected: 2 × b52, 1 × {NASTY}", 'a "b" & <c>.png, detected: nothing']


def test_a_failure_leaves_the_old_report_and_nothing_else(page):
    before = page.read_text()

    def breaks():
        yield result()
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="camera"):
        report(breaks(), page)
    with pytest.raises(ValueError, match="results is empty"):
        report([], page)
    classified = Results(np.zeros((8, 8, 3), np.uint8), path="x.png", names={0: "a"}, probs=torch.ones(1))
    with pytest.raises(ValueError, match="has no boxes"):
        report([classified], page)
    assert page.read_text() == before
    assert list(page.parent.iterdir()) == [page]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_it_and_runs_nothing(page, tmp_path):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "<title>A &lt; B</title>" in done.stdout
    assert done.stdout.count("<figure>") == 2
    assert "&lt;script&gt;" in done.stdout
