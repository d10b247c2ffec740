"""What the tools need of vil_lite, from its files alone: `import vil_lite` brings torch, and that takes seconds each time."""

import importlib.util
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "vil_lite"


def alone(name: str):
    """A module of the library that imports none of its others."""
    spec = importlib.util.spec_from_file_location(f"alone.{name.replace('/', '.')}", PACKAGE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_files, _cell = alone("_files"), alone("teach/setup_cell")
whole, write = _files.whole, _files.write
setup_cell, REPOSITORY = _cell.setup_cell, _cell.REPOSITORY
