"""`python -m vil_lite.yolo …`: ultralytics' command line, with the models of this package.

    python -m vil_lite.yolo train model=yolov8n-vil data=data.yaml epochs=40
    python -m vil_lite.yolo predict model=runs/detect/train/weights/best.pt source=images/
    python -m vil_lite.yolo compare models=yolov8n,yolov8n-vil data=data.yaml epochs=40 seeds=0,1,2 folder=comparison
"""

import sys

from ultralytics.cfg import entrypoint, merge_equals_args

# Importing from vil_lite.yolo registers the block; the `yolo` command cannot know a YAML that names it.
from vil_lite.yolo.models import available, model_yaml


def resolve(arguments):
    """Replace model=NAME by the path of its YAML where NAME is one of ours; leave files and ultralytics' names alone."""
    resolved = []
    for argument in merge_equals_args(list(arguments)):
        key, _, value = argument.partition("=")
        if key.lstrip("-") == "model" and value.removesuffix(".yaml") in available():
            argument = f"model={model_yaml(value)}"
        elif key.lstrip("-") == "model" and "-vil" in value and "/" not in value and not value.endswith(".pt"):
            model_yaml(value)  # a misspelt name of ours: raises with the nearest one
        resolved.append(argument)
    return resolved


def main():
    try:
        if sys.argv[1:2] == ["compare"]:
            from vil_lite.yolo import compare

            return compare.main(sys.argv[2:])
        sys.argv[1:] = resolve(sys.argv[1:])  # ultralytics holds this very list
    except ValueError as error:
        sys.exit(f"vil_lite.yolo: {error}")
    entrypoint()


if __name__ == "__main__":
    main()
