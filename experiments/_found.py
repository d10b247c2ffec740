"""What a detector finds on each image of a data set, for intervals over images."""

from vil_lite.yolo.compare import _flat, _Keeping


def validated(detector, data, size, **options):
    """(detections and true boxes with the number of their image, ultralytics' box metrics) of the validation images.

    detector: a YOLO, also of an exported file.  data: the path of a data.yaml.  size: pixels of a side; images are not padded.
    options: more arguments of val().
    """
    found = []

    class Keeping(_Keeping):
        def get_stats(self):
            stats = super().get_stats()
            found.append(_flat(self.found))
            return stats

    same = {"data": str(data), "imgsz": size, "rect": False, "device": "cpu", "workers": 0, **options}
    metrics = detector.val(Keeping, **same)
    return found[-1], metrics.box
