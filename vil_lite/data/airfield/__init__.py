"""Synthetic aerial scenes for detection: 27 classes of aircraft, drawn to scale, seen from straight above.

    build(root, train=400, val=100)   a data set on disk for ultralytics; returns the path of its data.yaml
    scene(seed, index)                one scene in memory: image, boxes, turned boxes, masks, surfaces
    preview(root_or_scenes)           a figure of scenes with their boxes
    silhouettes()                     a figure of all aircraft to scale
    boxes_of(root, split)             the boxes of a set on disk
    label_lines(scene, kind)          the lines of a label file

How a scene is made, file by file: `aircraft` (the table of dimensions), `shapes` (polygons in metres), `ground`, `clutter`,
`placement`, `sprite` (one aircraft on sub-pixels), `scene` (light, camera, labels), `raster` (drawing in whole numbers),
`build` (files), `figures`.
What they are not: photographs.  No real airport, no other season or weather, no view from aside.
"""

from .aircraft import AIRCRAFT, CLASSES, REPORTED
from .build import boxes_of, build, label_lines
from .figures import preview, silhouettes
from .scene import SURFACES, Scene, scene

__all__ = [
    "AIRCRAFT",
    "CLASSES",
    "REPORTED",
    "SURFACES",
    "Scene",
    "boxes_of",
    "build",
    "label_lines",
    "preview",
    "scene",
    "silhouettes",
]
