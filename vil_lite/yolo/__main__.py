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

from ultralytics.cfg import MODES, entrypoint, merge_equals_args
from ultralytics.utils import YAML
from ultralytics.utils.checks import check_yaml

# Importing from vil_lite.yolo registers the block; the `yolo` command cannot know a YAML that names it.
from vil_lite.yolo.models import TASKS, model_yaml
from vil_lite.yolo.training import train_settings


def resolve(arguments):
    """Make ultralytics' arguments of ours: our model's name becomes the path of its YAML, with the head of the task; a training
    gets what `train_settings` says, except where the command or its cfg=FILE says something else."""
    arguments = merge_equals_args(list(arguments))
    given = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
    for key, words in (("task", TASKS), ("mode", MODES)):
        given |= [(key, argument) for argument in arguments if argument in words]
    chosen = {**(YAML.load(check_yaml(given["cfg"])) if given.get("cfg") else {}), **given}
    if _is_ours(model := str(chosen.get("model"))):
        path = f"model={model_yaml(model, task=chosen.get('task') or 'detect')}"
        arguments = [path if argument.lstrip("-").startswith("model=") else argument for argument in arguments]
        arguments += [path] * ("model" not in given)
    if chosen.get("mode") == "train":
        arguments += [f"{key}={value}" for key, value in _missing(chosen).items()]
    return arguments


def _is_ours(model):
    """Whether a model is named, as those of this package are, and not the path of a file or folder."""
    return "-vil" in model and not ({"/", os.sep} & set(model) or model.endswith(".pt") or Path(model).exists())


def _missing(set_there):
    """The settings of a training that neither the command nor the file that it names as cfg sets."""
    if set_there.get("resume") not in (None, False, "False"):
        return {}  # goes on with those of its beginning
    chosen = {} if "device" not in set_there else {"device": set_there["device"]}
    settings = train_settings(set_there.get("batch") or 16, **chosen)
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
