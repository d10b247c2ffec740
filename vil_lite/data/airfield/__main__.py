"""A worker of `build`: python -m vil_lite.data.airfield ROOT, then lines "train 0" on its input."""

import sys
from pathlib import Path

from .build import work

work(Path(sys.argv[1]))
