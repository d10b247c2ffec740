"""What only the notebooks use: set-up, figures, sliders, glued numbers and the checks of exercises.

from vil_lite import teach
run = teach.setup(seed=0)          # versions, device, FAST or FULL; figure style
teach.explore(draw, alt="...", x=[1, 2, 3])   # one slider, live in Jupyter and in the static page
teach.glue("name", value)          # a number for the prose
teach.say("it says:", error)       # printed, no line over 80 columns
teach.result("name")               # a recorded run of experiments/
teach.data_file("table.csv")       # the path of a file that travels with the library
"""

from vil_lite.statistics import paired

from .figures import colors, curves, heatmap, heatmaps
from .printing import say
from .recorded import data_file, glue, result
from .session import Run, setup
from .sliders import explore

__all__ = [
    "Run",
    "colors",
    "curves",
    "data_file",
    "explore",
    "glue",
    "heatmap",
    "heatmaps",
    "paired",
    "result",
    "say",
    "setup",
]
