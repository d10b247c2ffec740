"""Everything stands in pyproject.toml but this: what notebooks read travels in the wheel, from where it is written."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["vil_lite*"]), "vil_lite.teach.results"],
    package_dir={"vil_lite.teach.results": "book/results"},
)
