"""`python -m vil_lite.yolo …`: ultralytics' command line, with the models of this package.

python -m vil_lite.yolo train model=yolov8n-vil data=data.yaml epochs=40
python -m vil_lite.yolo segment train model=yolo11n-vil data=data.yaml epochs=40
python -m vil_lite.yolo predict model=runs/detect/train/weights/best.pt source=images/
python -m vil_lite.yolo audit data=data.yaml
python -m vil_lite.yolo compare models=yolov8n,yolov8n-vil data=data.yaml epochs=40 seeds=0,1,2 folder=comparison
"""

import os
import sys
from pathlib import Path

from ultralytics.cfg import entrypoint, merge_equals_args
from ultralytics.utils import YAML

# Importing from vil_lite.yolo registers the block; the `yolo` command cannot know a YAML that names it.
from vil_lite.yolo.models import TASKS, model_yaml
from vil_lite.yolo.training import train_settings


def resolve(arguments):
    """Make ultralytics' arguments of ours: our model's name becomes the path of its YAML, with the head of the task; a training
    gets what `train_settings` says, except where the command or its cfg=FILE says something else."""
    arguments = merge_equals_args(list(arguments))
    given = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
    task = given.get("task") or next((argument for argument in arguments if argument in TASKS), "detect")
    resolved = []
    for argument in arguments:
        key, _, value = argument.lstrip("-").partition("=")
        ours = key == "model" and "-vil" in value and not ({"/", os.sep} & set(value) or value.endswith(".pt"))
        resolved.append(f"model={model_yaml(value, task=task)}" if ours and not Path(value).is_file() else argument)
    if "train" in arguments or given.get("mode") == "train":
        resolved += [f"{key}={value}" for key, value in _missing(given).items()]
    return resolved


def _missing(given):
    """The settings of a training that neither the command nor the file that it names as cfg sets."""
    if given.get("resume", "False") != "False":
        return {}  # goes on with those of its beginning
    set_there = {**YAML.load(given["cfg"]), **given} if given.get("cfg") else given
    chosen = {} if "device" not in set_there else {"device": set_there["device"]}
    settings = train_settings(set_there.get("batch", 16), **chosen)
    return {key: value for key, value in settings.items() if key not in set_there and key != "plots"}


def main():
    try:
        if sys.argv[1:2] == ["compare"]:
            from vil_lite.yolo import compare

            return compare.main(sys.argv[2:])
        if sys.argv[1:2] == ["audit"]:
            from vil_lite.yolo import audit

            given = dict(argument.partition("=")[::2] for argument in sys.argv[2:])
            if given.keys() != {"data"}:
                raise ValueError("audit takes data=FILE, a data.yaml")
            problems = audit(given["data"])
            print(*(f"{place}: {problem}" for place, problem in problems), f"{len(problems)} problems", sep="\n")
            return int(bool(problems))
        sys.argv[1:] = resolve(sys.argv[1:])  # ultralytics holds this very list
    except ValueError as error:
        sys.exit(f"vil_lite.yolo: {error}")
    entrypoint()


if __name__ == "__main__":
    sys.exit(main())
