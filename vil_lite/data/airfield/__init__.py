"""Synthetic aerial scenes for detection: 27 classes of aircraft, drawn to scale, seen from straight above."""

from .aircraft import CLASSES
from .build import boxes_of, build, label_lines, preview
from .scene import Scene, scene

__all__ = ["CLASSES", "Scene", "boxes_of", "build", "label_lines", "preview", "scene"]
