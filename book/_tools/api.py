"""The API page: each public name of the library, its signature, its docstring and the chapter that builds it.

The page has them from the directive {api}; tests/book/test_finding.py compares them with what the library exports.
Public is what a package lists in `__all__`, and in a module that users import by its own name what has no underscore.
Sources are read, not imported: the page needs neither torch nor ultralytics.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nb import ROOT, chapter_number, chapters, code

PACKAGES = ("vil_lite", "vil_lite.yolo", "vil_lite.data.airfield", "vil_lite.teach")
#: Modules that README, chapters and shell commands name, with what they define themselves.
MODULES = (
    *("mlstm", "layers", "traversal", "block", "model", "checkpoints", "zoo", "complexity"),
    *("recipes", "training", "pictures", "run_log", "trained", "statistics", "segmentation", "masked", "inspection"),
    *("yolo.shipped", "yolo.compare", "yolo.report", "yolo.statistics", "data.digits", "data.fashion", "data.scenes32"),
)
#: Which of the chapters that its module names builds a name, where that is one of several.
BUILT = {
    **dict.fromkeys(("MLSTMState", "mlstm_recurrent"), "3"),
    "mlstm_parallel": "4",
    "mlstm_chunkwise_loop": "5",
    **dict.fromkeys(("PatchEmbed", "PositionEmbedding", "resize_positions"), "6"),
    **dict.fromkeys(("LayerNorm", "CausalConv1d", "SequenceConv2d", "LinearBlockDiagonal", "MultiHeadNorm"), "7"),
    **dict.fromkeys(("small_init_", "MLSTMCell", "ViLLayer", "ViLBlock"), "7"),
    **dict.fromkeys(("MLSTMPath", "ViLEncoder"), "8"),
    **dict.fromkeys(("VisionLSTM", "create_model", "parameters", "flops"), "10"),
    **dict.fromkeys(("latency", "activation_memory"), "12"),
}


class Entry(NamedTuple):
    """A public name: `module` is where it is imported from, `source` where it is defined."""

    module: str
    name: str
    source: str
    signature: str
    doc: str


def file_of(module: str, root: Path = ROOT) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def tree(module: str, root: Path = ROOT) -> ast.Module:
    return ast.parse(file_of(module, root).read_text(encoding="utf-8"))


def assigned(module: str, name: str):
    """(value, comment above it that starts with #:) of a name that a module assigns, or None."""
    for node in tree(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            lines = file_of(module).read_text(encoding="utf-8").splitlines()[: node.lineno - 1]
            above = []
            while lines and lines[-1].startswith("#"):
                above.insert(0, lines.pop().lstrip("#: "))
            return node.value, "\n".join(above)
    return None


def listed(module: str) -> list[str]:
    """What `__all__` says, or the functions and classes without an underscore."""
    if found := assigned(module, "__all__"):
        return list(ast.literal_eval(found[0]))
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = [node.name for node in tree(module).body if isinstance(node, kinds)]
    return [name for name in names if name[0] != "_" and name != "main"]


def entry(module: str, name: str) -> Entry:
    """The entry of a name, followed through imports to its definition."""
    source = module
    while True:
        for node in tree(source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
                return Entry(module, name, source, signature(node), ast.get_docstring(node) or "")
            if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
                package = source if file_of(source).name == "__init__.py" else source.rpartition(".")[0]
                source = f"{package}.{node.module}" if node.level else node.module
                break
        else:
            if not (found := assigned(source, name)):
                raise LookupError(f"{module} lists {name!r}, which {source} does not define")
            return Entry(module, name, source, "", found[1])


def signature(node) -> str:
    """`(q, k, *, eps=1e-6)`: names and defaults; what they are is said by the docstring."""
    if isinstance(node, ast.ClassDef):
        makers = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        if not makers:
            fields = [p.target.id for p in node.body if isinstance(p, ast.AnnAssign) and isinstance(p.target, ast.Name)]
            return f"({', '.join(fields)})" if fields else ""
        node = makers[0]
    arguments = node.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        argument.annotation = None
    for argument in (arguments.vararg, arguments.kwarg):
        if argument:
            argument.annotation = None
    return f"({re.sub(r'^self(, )?', '', ast.unparse(arguments))})"


def entries() -> list[Entry]:
    """All public names, each once for each place that it may be imported from as documented."""
    found = [entry(package, name) for package in PACKAGES for name in listed(package)]
    known = {(one.source, one.name) for one in found}
    for module in (f"vil_lite.{name}" for name in MODULES):
        found += [one for name in listed(module) if ((one := entry(module, name)).source, name) not in known]
    return found


def known_chapters() -> dict[str, Path]:
    """{"3": path, "5b": path, "P1": path} in the book's order."""
    return {str(chapter_number(path)): path for path in chapters() if chapter_number(path)}


def named(source: str) -> list[str]:
    """The chapters in the first line of a module: "Chapters 2 to 5: ..." names four."""
    line = (ast.get_docstring(tree(source)) or "").partition("\n")[0]
    if not (found := re.match(r"Chapters? (\d+)(?: (to|and) (\d+))?", line)):
        return []
    first, word, last = found[1], found[2], found[3]
    return [str(n) for n in range(int(first), int(last) + 1)] if word == "to" else [first, *filter(None, [last])]


def built_in(one: Entry) -> tuple[str, list[str]]:
    """("built", chapters) where the module names them; else ("used", [the first chapter whose code names it, or its package])."""
    if chosen := named(one.source):
        return "built", [BUILT[one.name]] if one.name in BUILT else chosen
    package = one.module.rpartition(".")[2]
    using = [
        number
        for pattern in (rf"\b{package}\.{one.name}\b", rf"\bimport\b.*\b{package}\b", rf"\b{package}\b")
        for number, path in known_chapters().items()
        if re.search(pattern, code(path))
    ]
    return "used", using[:1]
