"""Part 3: Vision-LSTM inside ultralytics' YOLO models.  Importing this package registers its block, `C2fViL`, there.

    import vil_lite.yolo
    from ultralytics import YOLO
    model = YOLO(vil_lite.yolo.model_yaml("yolov8n-vil"))
    model.train(data="data.yaml", epochs=40, **vil_lite.yolo.train_settings(batch=16))

    python -m vil_lite.yolo train model=yolov8n-vil data=data.yaml epochs=40          # the same from a shell

A trained `best.pt` names this package, so `YOLO("best.pt")` imports it and works for predict, val, resume and export in a
process that never heard of it.  With YOLO_OFFLINE=1 in the environment the import also keeps ultralytics off the network.

Licence: ultralytics is AGPL-3.0.  This package imports it and subclasses its C2f, so whoever distributes a program that uses
`vil_lite.yolo`, or offers it as a service, has to follow the AGPL-3.0 (or hold a licence from Ultralytics).  The rest of
vil_lite never imports this package and stays under the MIT licence alone.
"""

from vil_lite.yolo.environment import offline, wanted_offline

if wanted_offline():  # before ultralytics is imported below: it looks a host name up while it is
    offline()

from vil_lite.yolo.auditing import audit
from vil_lite.yolo.block import C2fViL, ViLBlock2d
from vil_lite.yolo.export import tell_exporter
from vil_lite.yolo.models import available, model_yaml
from vil_lite.yolo.registration import register
from vil_lite.yolo.training import Loaded, load_weights, train_settings

register(C2fViL)
tell_exporter()

__all__ = [
    "C2fViL",
    "Loaded",
    "ViLBlock2d",
    "audit",
    "available",
    "load_weights",
    "model_yaml",
    "offline",
    "register",
    "train_settings",
]
