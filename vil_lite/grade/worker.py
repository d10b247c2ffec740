"""The untrusted end: defines a student's functions and answers calls.  Runs inside the sandbox, as a file of its own.

    python -I worker.py [UID]    speaks the protocol of wire.py on its standard input and output

It takes on the ordinary user, reads the notebook, imports the packages that the notebook needs, sets the limits, says
"ready", and only then runs what the student wrote.
Nothing here protects the grader: the student's code can change all of this.  It keeps honest mistakes apart.
"""

import ast
import base64
import importlib
import importlib.machinery
import importlib.util
import linecache
import os
import re
import symtable
import sys
import tempfile
import traceback
import types
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "library")]
from seccomp import fence
from values import Handle, encode
from wire import Peer

TORCH_MAPS, TORCH_USES = 4 << 30, 1 << 30  # bytes of address space and of memory that importing torch takes

# ---------------------------------------------------------------- limits


def become(uid: int) -> None:
    """Give root away for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def limit(memory: int, seconds: int) -> None:
    """memory: MiB on top of what is in use now.  seconds: of computing, for the whole notebook."""
    import resource

    def set_limit(name, value):
        with suppress(ValueError, OSError, AttributeError):  # macOS has no limit on address space
            resource.setrlimit(getattr(resource, name), (value, value))

    loaded = "torch" in sys.modules
    try:
        pages = [int(n) * os.sysconf("SC_PAGE_SIZE") for n in Path("/proc/self/statm").read_text().split()]
        mapped, used = pages[0], pages[5]
    except OSError:
        mapped, used = 8 << 30, 2 << 30
    set_limit("RLIMIT_AS", mapped + (memory << 20) + (0 if loaded else TORCH_MAPS))
    set_limit("RLIMIT_DATA", used + (memory << 20) + (0 if loaded else TORCH_USES))
    set_limit("RLIMIT_CPU", seconds)
    set_limit("RLIMIT_NPROC", 1)  # no new process, no new thread
    set_limit("RLIMIT_FSIZE", 16 << 20)
    set_limit("RLIMIT_NOFILE", 64)
    set_limit("RLIMIT_CORE", 0)
    fence()


# ---------------------------------------------------------------- the student's notebook

SIMPLE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SIMPLE += (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Pass)
MAGIC = re.compile(
    r"(\s*)([%!?].*|[\w.]+\?{1,2}\s*|\w[\w., \[\]'\"]*=\s*[%!].*)"
)  # %time, !pip, torch.sum?, files = !ls


def parse(cells: list[str], wanted):
    """The statements that may be run, [(file name, node)], and the cells that are no Python, {file name: message}.

    Of a cell that is no Python stay the wanted functions that it defines, empty: an older one does not count.
    """
    statements, broken = [], {}
    for number, source in enumerate(cells, start=1):
        name = f"cell {number}"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            nodes = python(source, name)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            said = f"{type(error).__name__}: {getattr(error, 'msg', error)}, in line {getattr(error, 'lineno', 1)}"
            broken[name] = f"the cell is no Python: {said}"
            defined = [one for one in wanted if re.search(rf"^def {one}\b", source, flags=re.M)]
            nodes = [ast.parse(f"def {one}(): pass").body[0] for one in defined]
        statements += [(name, node) for node in nodes if runs(node)]
    return statements, broken


def python(source: str, name: str) -> list[ast.stmt]:
    """The statements of a cell.  A line for IPython becomes a comment, and only where Python stumbles over it: a line of a
    longer expression may begin with %, too."""
    if source.lstrip().startswith("%%") and not source.lstrip().startswith(("%%time", "%%capture")):
        return []
    lines = source.split("\n")
    for _ in range(50):
        try:
            return ast.parse("\n".join(lines), name).body
        except SyntaxError as error:
            at = min(error.lineno or 1, len(lines)) - 1
            magic = MAGIC.fullmatch(lines[at])
            if not magic:
                raise
            lines[at] = f"{magic[1]}pass  # {magic[2]}"
    raise ValueError("more than 50 lines for IPython")


def runs(node: ast.stmt) -> bool:
    """Imports, definitions and assignments, also inside `if` and `try`; no calls, no loops: nothing that trains."""
    if isinstance(node, (ast.If, ast.Try)):
        inside = [*node.body, *node.orelse, *getattr(node, "finalbody", [])]
        inside += [statement for handler in getattr(node, "handlers", []) for statement in handler.body]
        return all(runs(statement) for statement in inside)
    return isinstance(node, SIMPLE)


def names_of(node: ast.stmt) -> tuple[set[str], set[str]]:
    """The global names that a statement gives a value to or changes (x = ..., x.a = ..., x[0] = ...), and those it reads."""
    try:
        table = symtable.symtable(ast.unparse(node), "", "exec")
    except (SyntaxError, RecursionError):
        return {"*"}, set()
    made = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    read = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        while isinstance(target, (ast.Attribute, ast.Subscript)):
            target = target.value
        made |= {target.id} if isinstance(target, ast.Name) else set()
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        made.add("*")
    inside = table.get_children()
    while inside:
        table = inside.pop()
        read |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        inside += table.get_children()
    return made, read


def needed(statements, wanted) -> list:
    """Of the statements those that `wanted` depends on, however indirectly, in the order of the notebook."""
    names, before = set(wanted) | {"*"}, None
    both = [names_of(node) for _, node in statements]
    while names != before:
        before = set(names)
        for made, read in both:
            if made & names:
                names |= read
    return [statement for statement, (made, _) in zip(statements, both) if made & names]


def packages(statements, chosen) -> list[str]:
    """What to import before the clock starts: what the chosen statements import, and torch if anything imports it."""
    found = []
    for _, node in statements:
        for part in ast.walk(node):
            if isinstance(part, ast.Import):
                found += [(alias.name.partition(".checks")[0], node) for alias in part.names]
            elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
                found.append((part.module, node))
    picked = [node for _, node in chosen]
    return list(dict.fromkeys(name for name, node in found if node in picked or name.partition(".")[0] == "torch"))


def watcher():
    """vil_lite.teach.watch by itself: the package around it would import the drawing of figures, in the student's time."""
    if "watch" not in sys.modules:
        file = Path(importlib.util.find_spec("vil_lite").origin).parent / "teach" / "watch.py"
        spec = importlib.util.spec_from_file_location("watch", file)
        sys.modules["watch"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["watch"])
    return sys.modules["watch"]


class Worker(Peer):
    """The end of the wire that holds the student's names."""

    trusting = True

    def __init__(self, read, write, nowhere: int):
        super().__init__(read, write, self.student)
        self.nowhere = nowhere
        self.space = types.ModuleType("__main__")
        sys.modules["__main__"] = self.space

    def student(self, name: str):
        """A function of the student's; "watched f" is f, with the operations that it takes counted."""
        watched, _, name = name.rpartition(" ")
        function = vars(self.space)[name]
        if watched:
            return lambda *arguments: tuple(watcher().watch(function, *arguments))
        return function

    def _serve_define(self, request):
        """Run what the wanted names need; report which names there are now, and the errors {name: text} of the others."""
        statements, broken = parse(request["cells"], request["names"])
        chosen, errors = needed(statements, request["names"]), {}
        for package in packages(statements, chosen):
            with suppress(Exception):  # the student's own import will say why
                importlib.import_module(package)
        for descriptor in (0, 1, 2):
            os.dup2(self.nowhere, descriptor)  # what is printed goes nowhere
        limit(request["memory"], request["seconds"])
        self.send({"do": "reply", "id": 0})  # ready
        for name, node in chosen:
            text = broken.get(name)
            try:
                if not text:
                    exec(compile(ast.Module([node], []), name, "exec"), vars(self.space))
            except BaseException as error:
                text = f"{name}: {f'{type(error).__name__}: {error}'[:500]}{self.where(error)['place']}"
            for made in names_of(node)[0]:
                if text:  # an older value of the name must not be taken for this one
                    vars(self.space).pop(made, None)
                    errors.setdefault(made, text)
                elif made in vars(self.space):  # the last definition counts
                    errors.pop(made, None)
        there = [name for name in request["names"] if callable(vars(self.space).get(name))]
        return {"do": "reply", "value": encode({"there": there, "errors": errors}, self, [])}

    def where(self, error: BaseException) -> dict:
        """The last line of the student's own code on the way to the error."""
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("cell ")]
        last = traceback.extract_tb(error.__traceback__)[-1:]
        own = bool(frames) and last[0].filename.startswith("cell ")
        place = f", in line {frames[-1].lineno} `{frames[-1].line}`" if frames else ""
        return {"place": place, "own": own}

    def place(self, path: str, files):
        """A folder that came with its files, written into the sandbox's own /tmp."""
        if files is None:
            return Path(path)
        root = Path(tempfile.mkdtemp())
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(base64.b64decode(data))
        return root


# ---------------------------------------------------------------- the references of other exercises


CHECKS = "vil_lite.teach.checks"


class Checks(types.ModuleType):
    """Stands for vil_lite.teach.checks and for each module in it: its functions are lent by the grader."""

    __path__: list = []

    def __init__(self, name: str, worker: Worker):
        super().__init__(name)
        self._worker = worker

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        if self.__name__ == CHECKS:
            module = sys.modules[f"{self.__name__}.{name}"] = Checks(f"{self.__name__}.{name}", self._worker)
            return module
        if name.startswith("check_"):  # a page goes on with what its check returns; here that is the student's function
            return lambda function=None, *_, **__: function
        return Handle(self._worker, f"{self.__name__.rpartition('.')[2]}.{name}", name)


class Importer:
    """Finds every module of vil_lite.teach.checks, for `from vil_lite.teach.checks.ch03 import recall`."""

    def find_spec(self, name: str, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.startswith(f"{CHECKS}.") else None

    def create_module(self, spec):
        return getattr(sys.modules[CHECKS], spec.name.rpartition(".")[2])

    def exec_module(self, module):
        pass


def main(uid: str = "") -> None:
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)  # until the student's code begins, complaints are heard
    if uid:
        become(int(uid))

    def write(line):
        sink.write(line)
        sink.flush()

    worker = Worker(source.readline, write, nowhere)
    sys.modules[CHECKS] = Checks(CHECKS, worker)
    sys.meta_path.append(Importer())
    while True:
        worker.serve(worker.receive())


if __name__ == "__main__":
    main(*sys.argv[1:])
