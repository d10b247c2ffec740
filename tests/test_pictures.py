"""Real files of every sort: read right, or refused by name."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from vil_lite.pictures import BadImage, Photographs, images_in, read, try_pictures


def noise(size=(40, 36), seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def spoiled(folder):
    """{name: what is wrong with it}"""
    whole = folder / "whole.jpg"
    noise().save(whole)
    content = whole.read_bytes()
    whole.unlink()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    Image.fromarray(np.ones((4, 4), np.float32)).save(folder / "float.tiff")
    Image.fromarray(np.ones((4, 4), np.int32)).save(folder / "int32.tiff")
    noise().save(folder / "broken.png")
    png = bytearray((folder / "broken.png").read_bytes())
    png[60:80] = bytes(20)
    (folder / "broken.png").write_bytes(png)
    return {
        "cut.jpg": "truncated",
        "empty.jpg": "the file is empty",
        "text.jpg": "no image that Pillow knows",
        "float.tiff": "nobody knows what is white",
        "int32.tiff": "nobody knows what is white",
        "broken.png": "broken",
    }


def test_what_cannot_be_read_is_named(tmp_path):
    for name, reason in spoiled(tmp_path).items():
        with pytest.raises(BadImage, match=f"{name}: cannot be read .*{reason}"):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"missing\.jpg"):
        read(tmp_path / "missing.jpg")
    (tmp_path / "link.jpg").symlink_to("missing.jpg")
    with pytest.raises(BadImage, match=r"link\.jpg: cannot be read \(it is a link to a file that is not there\)"):
        read(tmp_path / "link.jpg")


def test_also_beside_ultralytics_which_opens_images_in_its_own_way(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    code = "import sys, vil_lite.yolo; from vil_lite.pictures import read; read(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "text.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "YOLO_OFFLINE": "1"})
    assert "text.jpg: cannot be read (it is no image that Pillow knows)" in done.stderr


def test_sixteen_bits_are_scaled(tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    wanted = np.arange(256).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    Image.fromarray(ramp).save(tmp_path / "grey.tiff")
    for name in ("grey.png", "grey.tiff"):
        image = read(tmp_path / name)
        assert image.mode == "RGB"
        assert (np.abs(np.asarray(image).astype(int) - wanted[..., None]) <= 1).all()


def test_a_turned_photograph_stands_upright(tmp_path):
    image, exif = noise((40, 20)), Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read(tmp_path / "turned.png"), image.transpose(Image.Transpose.ROTATE_270))


def test_other_modes_become_rgb(tmp_path):
    for mode in ("L", "P", "RGBA", "1", "CMYK"):
        path = tmp_path / f"{mode}.{'tiff' if mode == 'CMYK' else 'png'}"
        noise().convert(mode).save(path)
        assert (read(path).mode, read(path).size) == ("RGB", (40, 36))


@pytest.fixture
def folder(tmp_path):
    """Two classes of three; beside them what systems hide."""
    for n, label in enumerate(("cat", "dog")):
        (tmp_path / label).mkdir()
        for k in range(3):
            noise(seed=10 * n + k).save(tmp_path / label / f"{k}.png")
        (tmp_path / label / "._0.png").write_bytes(b"\0\5\26\7")
        (tmp_path / label / "notes.txt").touch()
    (tmp_path / ".cache").mkdir()
    return tmp_path


def as_tensor(image):
    return torch.from_numpy(np.array(image)).float()


def test_a_folder_of_classes(folder):
    data = Photographs(folder, as_tensor)
    assert (data.classes, data.targets) == (["cat", "dog"], [0, 0, 0, 1, 1, 1])
    (folder / "empty class").mkdir()
    with pytest.raises(FileNotFoundError, match="empty class"):
        Photographs(folder, as_tensor)
    with pytest.raises(FileNotFoundError, match="has no folders"):
        Photographs(folder / "cat", as_tensor)


def test_bad_files_are_found_before_training_or_stepped_over(folder, capsys):
    for label in ("cat", "dog"):
        path = folder / label / "1.png"
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadImage, match=r"pass --skip-bad:\n  .*cat/1\.png: .*\n  .*dog/1\.png: ") as told:
        try_pictures(Photographs(folder, as_tensor), Photographs(folder, as_tensor))
    assert str(told.value).count("cannot be read (") == 4  # those of both folders, at once
    train, val = (Photographs(folder, as_tensor, skip_bad=True) for _ in range(2))
    try_pictures(train, val)
    assert capsys.readouterr().err.count("skipped: ") == 4
    assert val.targets == [0, 0, 1, 1] and len(val) == 4  # each test image once
    assert len(train) == 6  # as before: a run can be resumed
    assert torch.equal(train[1][0], train[2][0]) and train[4][1] == 1
    assert not capsys.readouterr().err  # each is reported once


def test_a_link_to_nothing_and_a_file_that_is_gone_are_stepped_over(folder, capsys):
    (folder / "dog" / "1.png").unlink()
    (folder / "dog" / "1.png").symlink_to("nowhere")
    data = Photographs(folder, as_tensor, skip_bad=True)
    (folder / "cat" / "1.png").unlink()
    assert [index for index, _ in data.bad(most=1)] == [] and [index for index, _ in data.bad()] == [1, 4]
    assert torch.equal(data[1][0], data[2][0]) and torch.equal(data[4][0], data[5][0])
    assert capsys.readouterr().err.count("skipped: ") == 2


def test_a_sample_of_many_is_tried_and_every_empty_file(folder):
    (folder / "dog" / "1.png").write_bytes(b"")
    (folder / "cat" / "1.png").write_bytes(b"spoiled")
    data = Photographs(folder, as_tensor)
    assert [index for index, _ in data.bad(most=2)] == [4]
    assert [index for index, _ in data.bad()] == [1, 4]


def test_files_to_predict(folder):
    assert [p.name for p in images_in([folder / "dog", folder / "cat" / "2.png"])] == [
        "0.png",
        "1.png",
        "2.png",
        "2.png",
    ]
    (folder / "cat" / "folder.png").mkdir()
    (folder / "cat" / "link.png").symlink_to("nowhere")
    assert [p.name for p in images_in([folder / "cat"])] == ["0.png", "1.png", "2.png", "link.png"]
    assert images_in([folder / "cat" / "link.png"])  # named: for `read` to refuse, as of a folder
    with pytest.raises(FileNotFoundError, match="bird does not exist"):
        images_in([folder / "bird"])
    with pytest.raises(FileNotFoundError, match=r"no images .*in .*\.cache"):
        images_in([folder / ".cache"])
