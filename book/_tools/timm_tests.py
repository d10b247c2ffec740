"""Run timm's own tests of models, from the source of the timm that is installed, on vil_tiny and vil2_tiny.

    python book/_tools/timm_tests.py

timm keeps lists of modules with feature getters and of names whose features are tokens; a family that joins timm is
entered there, and so are ours, in a copy.  Ends with 0 when all tests pass but those of KNOWN, and those ran and fail.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import timm

MODELS = ("vil_tiny", "vil2_tiny")
SCRIPT = "torch.jit.script compiles a subset of Python, which the checks of input are not; torch calls it deprecated"
WIDTH = (
    "the line wants the pooled vector as wide as a token; version 2 joins the first and the last token, as published"
)
#: Test -> names of models for which it fails, and why.
KNOWN = {
    "test_model_forward_torchscript": (("vil_tiny", "vil2_tiny"), SCRIPT),
    "test_model_default_cfgs_non_std": (("vil2_tiny",), WIDTH),
}
ENTRIES = {
    "import timm\n": "import timm\nimport vil_lite.zoo\n",
    "FEAT_INTER_FILTERS = [": "FEAT_INTER_FILTERS = ['zoo',",
    "NON_STD_FILTERS = [": "NON_STD_FILTERS = ['vil*',",
}


class Chosen:
    """A pytest plugin: keeps the tests of our models, remembers how each ended."""

    def __init__(self):
        self.ended = {}

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if self.model(item) in MODELS]

    @staticmethod
    def model(item):
        return item.callspec.params.get("model_name", "").split(".")[0] if hasattr(item, "callspec") else ""

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.ended[report.nodeid.split("::")[1]] = report.outcome


def is_known(test):
    """Does KNOWN tell of this test, a name such as test_model_forward_torchscript[1-vil_tiny]?"""
    name, _, values = test.partition("[")
    return name in KNOWN and any(f"-{model}" in values for model in KNOWN[name][0])


def source(folder):
    """timm's tests/test_models.py, with our names entered."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "timm"]
    subprocess.run([*command, "-d", folder, f"timm=={timm.__version__}"], check=True)
    with tarfile.open(next(Path(folder).glob("timm-*.tar.gz"))) as archive:
        for name in archive.getnames():
            if name.count("/") == 2 and name.split("/")[1:] in (["tests", "test_models.py"], ["tests", "conftest.py"]):
                (Path(folder) / Path(name).name).write_bytes(archive.extractfile(name).read())
    tests = Path(folder) / "test_models.py"
    text = tests.read_text(encoding="utf-8")
    for before, after in ENTRIES.items():
        if before not in text:
            raise SystemExit(f"timm {timm.__version__}: {before!r} is no longer in its test_models.py")
        text = text.replace(before, after, 1)
    tests.write_text(text, encoding="utf-8")
    return tests


def main():
    os.environ["GITHUB_ACTIONS"] = "true"  # as timm's own checks run: without the downloads of all weights
    chosen = Chosen()
    with tempfile.TemporaryDirectory() as folder:
        options = ["-q", "--tb=line", "-c", os.devnull, "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", folder]
        pytest.main([str(source(folder)), *options], plugins=[chosen])
    known = {test for test in chosen.ended if is_known(test)}
    failed = {test for test, outcome in chosen.ended.items() if outcome == "failed"}
    print(f"timm {timm.__version__}: {list(chosen.ended.values()).count('passed')} of {len(chosen.ended)} pass")
    for test, (models, why) in KNOWN.items():
        print(f"  {test} ({', '.join(models)}): {why}")
    unseen = KNOWN.keys() - {test.partition("[")[0] for test in known}
    if failed != known or unseen:
        raise SystemExit(f"not as told: {sorted(failed ^ known | unseen)}")


if __name__ == "__main__":
    main()
