"""The detector that comes with the package, and the file format it comes in."""

import shutil

import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn.modules import C2f
from ultralytics.nn.tasks import DetectionModel

import vil_lite.yolo
from vil_lite.complexity import parameters
from vil_lite.data import airfield
from vil_lite.yolo import shipped


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """An untrained yolov8n-vil of 27 classes, as ultralytics saves it, and its packed weights."""
    folder = tmp_path_factory.mktemp("packed")
    torch.manual_seed(0)
    model = YOLO(vil_lite.yolo.model_yaml("yolov8n-vil", nc=27))
    model.model.names = dict(enumerate(airfield.CLASSES))
    model.save(folder / "whole.pt")
    shipped.pack(folder / "whole.pt", folder / "packed.pth", "yolov8n-vil", 320)
    return folder


def test_packed_weights_take_a_byte_each_and_hardly_move(packed):
    detector = shipped.airfield_detector(packed / "packed.pth")
    whole = YOLO(packed / "whole.pt").model.float().eval()
    for key, was in whole.state_dict().items():
        now = detector.model.state_dict()[key]
        if was.ndim > 1 and was.numel() >= shipped.LARGE:
            half_a_step = was.flatten(1).abs().amax(1).view(-1, *[1] * (was.ndim - 1)) / 127 / 2
            assert ((now - was).abs() <= 1.001 * half_a_step).all()
        else:
            assert now.equal(was), key
    x = torch.rand(1, 3, 320, 320, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(detector.model(x)[0], whole(x)[0], rtol=0.05, atol=1e-3)
    assert (packed / "packed.pth").stat().st_size < 1.4 * parameters(whole)
    assert list(detector.names.values()) == list(airfield.CLASSES)
    assert {file.name for file in packed.iterdir()} == {"whole.pt", "packed.pth"}


def test_a_channel_of_zeros_stays_one(packed, tmp_path):
    model = YOLO(packed / "whole.pt")
    model.model.model[2].cv1.conv.weight.data[0] = 0
    model.save(tmp_path / "zeros.pt")
    shipped.pack(tmp_path / "zeros.pt", tmp_path / "zeros.pth", "yolov8n-vil", 320)
    kernel = shipped.airfield_detector(tmp_path / "zeros.pth").model.model[2].cv1.conv.weight
    assert kernel[0].eq(0).all() and kernel.isfinite().all()


def test_the_weights_are_trained_on(packed, tmp_path):
    """YOLO.train() builds its model anew: it must start from these weights, not from random ones."""
    data = airfield.build(tmp_path / "airfield", train=4, val=2, image_size=64, seed=0, progress=False)
    detector = shipped.airfield_detector(packed / "packed.pth")
    before = detector.model.state_dict()["model.0.conv.weight"].clone()
    settings = vil_lite.yolo.train_settings(
        2, lr0=0.0, epochs=1, imgsz=64, device="cpu", project=str(tmp_path), val=False
    )
    detector.train(data=str(data), **settings)
    after = YOLO(tmp_path / "train" / "weights" / "last.pt").model.float().state_dict()["model.0.conv.weight"]
    torch.testing.assert_close(after, before, rtol=0, atol=1e-3)


def test_what_is_not_a_packed_file_is_refused(packed, tmp_path):
    with pytest.raises(FileNotFoundError, match="install the package again"):
        shipped.airfield_detector(tmp_path / "none.pth")
    whole = (packed / "packed.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged or not a file"):
        shipped.airfield_detector(tmp_path / "cut.pth")
    with pytest.raises(ValueError, match="damaged or not a file"):  # a pickle with classes in it: never loaded
        shipped.airfield_detector(packed / "whole.pt")


def test_a_packed_file_runs_no_code_and_writes_nothing_outside_the_cache(tmp_path):
    saved, ran = torch.load(shipped.PLAIN, weights_only=True), tmp_path / "ran"
    code = {"activation": f"(__import__('pathlib').Path({str(ran)!r}).touch(), torch.nn.SiLU())[1]"}
    download = {"backbone": [[-1, 1, "torch_safe_load", [f"{tmp_path}/evil.pt"]], *saved["yaml"]["backbone"]]}
    for changes in ({"yaml": saved["yaml"] | code}, {"yaml": saved["yaml"] | download}, {"model": f"../..{ran}"}):
        torch.save(saved | changes, tmp_path / "evil.pth")
        with pytest.raises(ValueError, match="damaged or not a file that pack"):
            shipped.airfield_detector(tmp_path / "evil.pth")
        assert [path.name for path in tmp_path.iterdir()] == ["evil.pth"]


def test_networks_whose_yaml_has_one_scale_or_none_are_packed(tmp_path):
    copied = tmp_path / "yolov8s-airfield.yaml"
    shutil.copy(vil_lite.yolo.model_yaml("yolov8n-vil"), copied)
    for network, name in ((YOLO(copied), "mine"), (YOLO("yolov9t.yaml"), "yolov9t")):
        network.save(tmp_path / "own.pt")
        shipped.pack(tmp_path / "own.pt", tmp_path / "own.pth", name, 64)
        packed = shipped.airfield_detector(tmp_path / "own.pth").model
        shapes = {key: x.shape for key, x in network.model.state_dict().items()}
        assert {key: x.shape for key, x in packed.state_dict().items()} == shapes


def test_what_cannot_be_packed_is_refused(packed, small, tmp_path):
    def pack(name="mine"):
        shipped.pack(tmp_path / "own.pt", tmp_path / "own.pth", name, 64)

    grey = YOLO(small)
    grey.model = DetectionModel(small, ch=1, verbose=False)
    grey.save(tmp_path / "own.pt")
    with pytest.raises(
        ValueError, match="checkpoint: .*own.pt takes images of 1 channels; pack.. takes detectors of 3"
    ):
        pack()
    YOLO(vil_lite.yolo.model_yaml("yolov8n-vil", task="classify")).save(tmp_path / "own.pt")
    with pytest.raises(ValueError, match="checkpoint: .*own.pt is for the task 'classify'; pack.. takes detectors"):
        pack()
    shutil.copy(packed / "whole.pt", tmp_path / "own.pt")
    with pytest.raises(ValueError, match="name: ultralytics reads 'yolov8s-mine' as scale s, and .* has scale n"):
        pack("yolov8s-mine")
    with pytest.raises(ValueError, match="name: '../mine' must be the name of a file, without folders"):
        pack("../mine")
    fused = YOLO(packed / "whole.pt")
    fused.fuse()
    fused.save(tmp_path / "own.pt")
    with pytest.raises(ValueError, match="own.pt is fused; name one that was saved before fuse"):
        pack()
    assert not (tmp_path / "own.pth").exists()


@pytest.mark.parametrize(("weights", "kind"), [(shipped.WEIGHTS, vil_lite.yolo.C2fViL), (shipped.PLAIN, C2f)])
def test_the_shipped_detectors_find_aircraft_and_name_them(weights, kind):
    assert weights.stat().st_size < 5e6  # both, and all results, in a wheel of 10 MB
    detector, found, there = shipped.airfield_detector(weights), 0, 0
    assert type(detector.model.model[8]) is kind
    for index in range(8):  # scenes of a seed that they were neither trained nor judged on
        scene = airfield.scene(seed=11, index=index, metres_per_pixel=shipped.METRES_PER_PIXEL)
        image = scene.image[..., ::-1].copy()
        boxes = detector.predict(image, conf=0.25, verbose=False)[0].boxes
        there += len(scene.boxes)
        for box, label in zip(scene.boxes, scene.labels, strict=True):
            found += _overlap(box, boxes.xyxy[boxes.cls == label].numpy()) > 0.5
    assert found > 0.8 * there


def _overlap(box, others):
    """The best IoU of a box with any of the others."""
    if not len(others):
        return 0.0
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=1)
    area = lambda b: (b[..., 2:] - b[..., :2]).prod(axis=-1)  # noqa: E731
    return float((inner / (area(box) + area(others) - inner)).max())
