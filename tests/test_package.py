"""The package as a whole: a newcomer finds each file's chapter, and nothing leans on the data sets."""

import ast
import re
from pathlib import Path

import api
import glance

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "vil_lite"
PUBLIC = [path for folder in (LIBRARY, LIBRARY / "yolo") for path in sorted(folder.glob("[!_]*.py"))]


def test_the_first_line_of_each_public_module_names_its_chapter():
    chapters = {int(path.name[:2]) for path in (ROOT / "book").glob("part*/[0-9][0-9]_*.ipynb")}
    for path in PUBLIC:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        named = re.match(r'"""(?:Part [123]|Chapters? (\d+)(?:(?: to | and )(\d+))?)[:,]', first)
        assert named and {int(number) for number in named.groups() if number} <= chapters, f"{path}: {first}"


def test_the_readme_has_a_sentence_for_each_file_of_the_core():
    rows = re.findall(
        r"^\| \[`(\w+\.py)`\]\(vil_lite/\1\) \|.{20,}\|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M
    )
    assert sorted(rows) == sorted(path.name for path in PUBLIC if path.parent == LIBRARY)


def test_each_class_of_the_core_names_its_place_in_the_paper_and_the_authors_lines():
    """These as file#Lnn, and the head of the file says at which commit."""
    for name in ("layers", "block", "model"):
        tree = ast.parse((LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
        addresses = re.findall(r"https://github.com/NX-AI/vision-lstm/blob/[0-9a-f]{40}/\S+", ast.get_docstring(tree))
        files = {address.rsplit("/", 1)[1] for address in addresses}
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                said = ast.get_docstring(node)
                named = re.findall(r"(\w+\.py)#L\d+", said)
                assert named and set(named) <= files, f"{name}.{node.name}: {named}"
                assert re.search(r"\((Vision-LSTM|xLSTM), \w", said), f"{name}.{node.name}"


def test_the_functions_of_the_api_page_are_typed():
    for one in api.entries():
        for node in ast.parse(api.file_of(one.source).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == one.name:
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                untyped = [argument.arg for argument in arguments if argument.annotation is None]
                assert node.returns and not untyped, f"{one.source}.{one.name}: {untyped}"


def test_one_way_to_do_a_thing():
    """Each of these has its place, and no second one."""
    places = {
        r"sys\.meta_path\.(insert|append)": {"vil_lite/grade/worker.py"},  # the sandbox's own process
        r"\bos\.replace\(": {"vil_lite/_files.py", "vil_lite/download.py"},  # what a download has outlives a break
        r"\bget_close_matches\(": {"vil_lite/_names.py"},
        r'"\.(unfinished|part|partial|tmp)\b': {"vil_lite/_files.py"},
        r"numel\(\) for \w+ in \w+(\.\w+)?\.parameters\(\)\)": {"vil_lite/complexity.py"},
        r"time\.perf_counter\b": {
            "experiments/_record.py",
            *(f"book/_tools/{name}.py" for name in ("build", "colab_trial", "execute")),
            *(f"vil_lite/{name}.py" for name in ("complexity", "_run", "training", "yolo/compare")),
        },
        r"sys\.path\.insert\(": {"vil_lite/teach/setup_cell.py"},
        r"# fmt: (skip|off)": set(),
    }
    sources = [*LIBRARY.rglob("*.py"), *(ROOT / "tests").rglob("test_*.py")]
    sources += [path for folder in ("experiments", "book/_tools") for path in (ROOT / folder).glob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sources}
    del texts["tests/test_package.py"]
    for pattern, wanted in places.items():
        assert {name for name, text in texts.items() if re.search(pattern, text)} == wanted, pattern


def test_no_two_files_have_one_name(pytestconfig):
    """pytest imports tests, and tests their helpers and tools, by base name: of two, one would be left out."""
    others = {path for folder in pytestconfig.getini("pythonpath") for path in folder.glob("*.py")}
    places = {}
    for path in others | set((ROOT / "tests").rglob("*.py")):
        if path.name != "conftest.py":  # pytest keeps these apart
            places.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    assert "test_package.py" in places
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_nothing_outside_data_imports_it():
    for path in LIBRARY.rglob("*.py"):
        if path.is_relative_to(LIBRARY / "data"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                inside = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
                module = ".".join(filter(None, [*inside, node.module]))
                names = [f"{module}.{one.name}" for one in node.names]
            assert not any(f"{name}.".startswith("vil_lite.data.") for name in names), f"{path}:{node.lineno}"


def test_the_tables_of_readme_and_status_page_are_made_from_the_records():
    for path, text in glance.pages().items():
        assert path.read_text(encoding="utf-8") == text, "python book/_tools/glance.py"


def test_the_readme_names_the_sizes_whose_speed_was_measured():
    script = (ROOT / "experiments" / "speed_models.py").read_text(encoding="utf-8")
    measured = {size[0].upper() for size in re.findall(r'"vi[lt]2?_(tiny|small|base)', script)}
    assert measured == set(re.findall(r"\bVi[LT]-([A-Z])\b", glance.speed(ROOT)))
