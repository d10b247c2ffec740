"""What the detector in the package finds on a drawn airfield: the picture of the landing page.

    python experiments/landing_scene.py        some seconds

Of ten scenes, twice as wide as those of experiments/ch15_ship.py, the one where it names most aircraft rightly:
chosen for the picture, and called so there.  Writes book/results/landing_scene.json: the boxes found, in pixels, with class,
confidence and whether an aircraft of that class lies there (IoU 0.5); the true boxes; and the counts of all ten scenes,
also those of the detector without ViL.
"""

from _record import record
from ch15_ship import FRESH, SCALE, SIZE
from torch import as_tensor
from torchvision.ops import box_iou

from vil_lite.data import airfield
from vil_lite.yolo.shipped import PLAIN, airfield_detector

SCENES, CONFIDENCE, MATCH = 10, 0.25, 0.5
SCENE = {
    "seed": FRESH,
    "image_size": 2 * SIZE,
    "split": "val",
    "metres_per_pixel": SCALE,
}  # a larger picture, more aircraft


def look(detector, index):
    """The boxes found in one scene, the true ones, and which of the true ones were found under their name."""
    scene = airfield.scene(index=index, **SCENE)
    as_read_from_a_file = scene.image[..., ::-1].copy()  # ultralytics takes arrays as BGR
    (result,) = detector.predict(
        as_read_from_a_file, imgsz=SCENE["image_size"], conf=CONFIDENCE, device="cpu", verbose=False
    )
    overlaps = box_iou(result.boxes.xyxy.float(), as_tensor(scene.boxes).float())
    labels, taken, found = result.boxes.cls.long().tolist(), set(), []
    for n, label in enumerate(labels):  # most confident first, each aircraft once
        at = [k for k, true in enumerate(scene.labels) if true == label and overlaps[n, k] >= MATCH and k not in taken]
        taken |= {max(at, key=lambda k: overlaps[n, k])} if at else set()
        box, confidence = result.boxes.xyxy[n].tolist(), float(result.boxes.conf[n])
        name = result.names[label]
        found.append({"box": [round(x, 1) for x in box], "name": name, "conf": round(confidence, 3), "right": bool(at)})
    true = [
        {"box": [round(float(x), 1) for x in box], "name": scene.names[label], "found": k in taken}
        for k, (box, label) in enumerate(zip(scene.boxes, scene.labels, strict=True))
    ]
    return {"index": index, "found": found, "true": true, "right": len(taken)}


def main():
    scenes, plain = (
        [look(detector, index) for index in range(SCENES)]
        for detector in (airfield_detector(), airfield_detector(PLAIN))
    )
    figures = {
        "scene": SCENE,
        "confidence": CONFIDENCE,
        "aircraft": [len(scene["true"]) for scene in scenes],
        "boxes": [len(scene["found"]) for scene in scenes],
        "right": [scene["right"] for scene in scenes],
        "without ViL": {"boxes": sum(len(one["found"]) for one in plain), "right": sum(one["right"] for one in plain)},
        "shown": max(scenes, key=lambda scene: scene["right"]),
    }
    record("landing_scene", figures, [FRESH], ("torch", "ultralytics"))


if __name__ == "__main__":
    main()
