"""Cheats and accidents, each against a real worker in a real sandbox: none scores, none reaches further than its own exercise."""

import os
import resource
import socket
import time
from pathlib import Path

import pytest
from _class import RIGHT, needs_bwrap, notebook, plan, verdict, verdicts

from vil_lite.grade import one

pytestmark = needs_bwrap
SHARE = "def loudness(n, share):\n    "

# What a student may write into the function of an exercise, what it is taken for, and what the message says: a deed that
# returns nothing is wrong also where nobody has stopped it.
DEEDS = {
    # endings
    "exit at once": ("import os\n    os._exit(0)", "died"),
    "exit as if done": ("raise SystemExit(0)", "wrong", "SystemExit"),
    "interrupt": ("raise KeyboardInterrupt", "wrong", "KeyboardInterrupt"),
    "segmentation fault": ("import ctypes\n    ctypes.string_at(0)", "died"),
    "abort": ("import os\n    os.abort()", "died"),
    "kill everybody": ("import os\n    os.kill(-1, 9)", "wrong", "No such process"),
    # time
    "a loop that catches everything": (
        "while True:\n        try:\n            while True:\n                pass\n        except BaseException:\n            pass",
        "time",
    ),
    "sleep": ("import time\n    time.sleep(1000)", "time"),
    "a signal handler against the end": (
        "import signal\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    while True: pass",
        "time",
    ),
    # means
    "fork bomb": ("import os\n    while True:\n        os.fork()", "wrong", "Resource temporarily unavailable"),
    "thread left behind": (
        "import threading\n    threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
        "wrong",
        "can't start new thread",
    ),
    "memory": ("x = []\n    while True:\n        x.append(bytearray(10**7))", "memory"),
    "disk": (
        "i = 0\n    while True:\n        i += 1\n        open(f'/tmp/{i}', 'wb').write(bytes(10**7))",
        "wrong",
        "No space left",
    ),
    "a large file": ("open('/tmp/x', 'wb').write(bytes(10**8))", "wrong", "File too large"),
    "megabytes of print": ("print('x' * 10**7)\n    return 0.0", "wrong", "the result is 0,"),
    "a namespace of its own": (
        "import ctypes\n    return float(ctypes.CDLL(None).unshare(0x10000000) == 0)",
        "wrong",
        "the result is 0,",
    ),
    # the outside
    "write a file": ("open('/usr/x', 'w')", "wrong", "Read-only file system"),
    "a file of the teacher": (f"return float(len(open({__file__!r}).read()))", "wrong", "No such file"),
    # the wire
    "half a message": ('shout(b\'{"do": "reply", \')\n    os._exit(0)', "died"),
    "nonsense on the wire": ("return shout(b'right!\\n')\n    return 0.0", "look by hand"),
    "deep JSON": ("return shout(b'[' * 10**5 + b'\\n')", "look by hand"),
    "a message without an end": ("while True:\n        shout(b'x' * 60000)", "look by hand"),
    "a number of a million digits": ("return shout(b'{\"id\": ' + b'9' * 10**6 + b'}\\n')", "look by hand"),
    "a forged verdict": ('return shout(b\'{"do": "reply", "id": 2, "value": true}\\n\')', "look by hand"),
    "a tensor that is none": (
        'return shout(b\'{"do": "reply", "id": 2, "value": {"$": "tensor", "dtype": "float32", "shape": [9], "data": ""}}\\n\')',
        "look by hand",
    ),
    "a range without an end": ("return range(10**15)", "wrong", "is a range"),
    "a forged range": (
        'return shout(b\'{"do": "reply", "id": 2, "value": {"$": "range", "of": [0, 1000000000, 1]}}\\n\')',
        "look by hand",
    ),
    "a pickle": ("import pickle\n    return pickle.dumps(print)", "wrong", "is a bytes"),
    # answers that lie
    "equal to everything": ("return type('Liar', (), {'__eq__': lambda *_: True})()", "wrong", "is a Liar"),
    "a float that lies": (
        "return type('Liar', (float,), {'__eq__': lambda *_: True, '__sub__': lambda *_: 0.0})(0)",
        "wrong",
        "the result is 0,",
    ),
    "an endless list": ("x = []\n    x.append(x)\n    return x", "wrong", "RecursionError"),
    # the grader's side, from here
    "the frames": (
        "import sys\n    frame = sys._getframe()\n    while frame:\n        for x in list(frame.f_locals.values()):\n"
        "            if isinstance(x, dict) and 'wanted' in x:\n                return x['wanted']\n        frame = frame.f_back\n    return 0.0",
        "wrong",
    ),
    "the garbage collector": (
        "import gc\n    for x in gc.get_objects():\n        if getattr(x, '__name__', '') == 'loudness' and x is not loudness:\n"
        "            return x(n, share)\n    return 0.0",
        "wrong",
    ),
}
SHOUT = """
import os
def shout(line):
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, line)
        except OSError:
            pass
"""


@pytest.mark.parametrize("name", DEEDS)
def test_a_deed_earns_nothing_and_is_told_apart(name, tmp_path):
    deed, status, *told = DEEDS[name]
    seconds = 1 if status == "time" else 60
    got = verdict(tmp_path, (SHOUT if "shout" in deed else "") + SHARE + deed, seconds=seconds)
    assert got["status"] == status, got["message"]
    assert got["points"] == 0
    assert all(words in got["message"] for words in told), got["message"]


def test_a_server_of_the_teachers_machine_is_not_reached(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        deed = f"import socket\n    socket.create_connection({server.getsockname()}, 5)"
        told = verdict(tmp_path, SHARE + deed, seconds=60)["message"]
    assert "Connection refused" in told or "Network is unreachable" in told, told


BOMB = """
import math, pickle{torch}
class Bomb{base}:
    def __reduce__(self):
        return open, ({path!r}, "w")
    __reduce_ex__ = lambda self, protocol: self.__reduce__()
    __copy__ = __deepcopy__ = __getstate__ = __reduce__
def loudness(n, share):
    return {returned}
"""


@pytest.mark.parametrize(
    ("base", "returned"),
    [
        ("", "Bomb()"),
        ("", "[Bomb(), {'wanted': Bomb()}]"),
        ("", "pickle.dumps(Bomb())"),
        ("(Exception)", "(_ for _ in ()).throw(Bomb('equal'))"),
        ("(float)", "Bomb(0.0)"),
        ("(torch.Tensor)", "torch.zeros(()).as_subclass(Bomb)"),
    ],
)
def test_a_pickle_bomb_goes_off_nowhere(base, returned, tmp_path):
    path = tmp_path / "gone off"
    got = verdict(
        tmp_path,
        BOMB.format(base=base, returned=returned, path=str(path), torch=", torch" * ("torch" in base)),
        seconds=60,
    )
    assert (got["status"], got["points"]) == ("wrong", 0) and not path.exists(), got


PATCHES = """
import torch, sys
import vil_lite.teach.checks as checks
from vil_lite.teach.checks import ch03
torch.allclose = torch.equal = lambda *a, **k: True
torch.Tensor.__eq__ = lambda *a: True
ch03.check_recall = ch03.compare = checks.close = lambda *a, **k: True
ch03.recall = ch03.interference = lambda *a: 0
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True
def recall(q, k, v):
    return torch.zeros(len(q), v.shape[1]).as_subclass(Liar)
def interference(k, v):
    return ch03.recall
def covariance(C, k_sum, v_sum, N):
    return ch03.recall(k_sum[None], k_sum[None], v_sum[None])
def overwrite(C, k, v):
    return torch.zeros(2**40 // 2**20, 2**20)[:1].expand(2**20, 2**20)
"""


def test_patched_comparisons_and_lying_tensors_earn_nothing_in_one_worker(tmp_path):
    got = verdicts(tmp_path, PATCHES, text='exercises = ["3.1", "3.2", "3.3", "3.5"]', seconds=60)
    assert [(one["status"], one["points"]) for one in got[:3]] == [("wrong", 0)] * 3, got
    assert got[3]["points"] == 0 and got[3]["status"] in ("wrong", "memory", "look by hand"), got[3]


CODE = """
import torch
from vil_lite.teach.checks import ch03
def recall(q, k, v):
    for function in (ch03.recall, ch03.check_recall, torch.allclose, type(ch03.recall).__call__, type(ch03.check_recall).passes):
        try:
            function.__code__ = (lambda *a, **k: torch.zeros(())).__code__
        except Exception:
            pass
    return torch.zeros(())
"""


def test_another_code_in_the_reference_changes_neither_this_grade_nor_the_next(tmp_path):
    (tmp_path / "next").mkdir()
    text = 'exercises = ["3.1"]'
    got = verdict(tmp_path, CODE, "ch03.recall.__code__ = (lambda *a: 0).__code__", text=text, seconds=60)
    assert (got["status"], got["points"]) == ("wrong", 0), got
    right = "import torch\ndef recall(q, k, v):\n    return q @ k.T @ v"
    assert verdict(tmp_path / "next", right, text=text, seconds=60)["status"] == "right"


STOLEN = """
import functools, gc, importlib, inspect, sys, torch
import vil_lite.teach.checks.ch03 as module
from vil_lite.teach.checks import ch03
from vil_lite.teach.checks.ch03 import recall as theirs
recall = functools.partial(theirs)
def interference(k, v):
    return getattr(importlib.import_module("vil_lite.teach.checks." + "ch03"), "inter" + "ference")(k, v)
class covariance(type("Wrap", (), {"__call__": lambda self, *a: vars(module).get("covariance", module.covariance)(*a)})):
    pass
covariance = covariance()
def step(*a):
    raise ValueError("source: " + inspect.getsource(ch03.recall))
def overwrite(*a):
    [sys.modules.pop(m) for m in list(sys.modules) if m.startswith("vil_lite")]
    return importlib.import_module("vil_lite.teach.checks.ch03").overwrite(*a)
"""
LATER = """
import inspect
from vil_lite.teach.checks import ch02
def loudness(n, share):
    return ch02.loudest.__func__(n) if hasattr(ch02.loudest, "__func__") else ch02.deaf_for(n, share)
def deaf_for(loudness, f):
    found = [x for name in ("__code__", "__globals__", "__wrapped__", "__closure__", "reference", "_body", "outcome", "mistakes")
             for x in [getattr(ch02.loudness, name, None), getattr(ch02.check_deaf_for, name, None)] if callable(x)]
    return [x(loudness, f) for x in found][0] if found else 0.0
def loudest(dtype):
    return len(inspect.getsource(ch02))
"""


def test_no_way_to_its_own_reference(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "later").mkdir()
    got = verdicts(tmp_path / "own", STOLEN, text='chapters = ["ch03"]', seconds=60)
    got += verdicts(tmp_path / "later", LATER, text='exercises = ["2.1", "2.2", "2.3"]', seconds=60)
    assert [(one["status"], one["points"]) for one in got] == [("wrong", 0)] * 8, got
    refused = [one["number"] for one in got if "is not lent out here" in one["message"]]
    assert refused == ["3.1", "3.2", "3.3", "2.1"], got
    assert "TypeError" in got[3]["message"] and "TypeError" in got[7]["message"]  # a stand-in has no source


def test_a_reference_of_an_earlier_exercise_is_lent(tmp_path):
    cell = "from vil_lite.teach.checks import ch03\ndef interference(k, v):\n    return (ch03.recall(k, k, v) - v).square().sum() / v.square().sum()"
    got = verdict(tmp_path, "import torch", cell, text='exercises = ["3.2"]', seconds=60)
    assert got["status"] == "right", got["message"]


DEAF_FOR = "import math\ndef deaf_for(x, f):\n    return -math.log1p(math.exp(x) * (1 - f)) / math.log(f)"  # 2.2, without torch


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ("['row'] * 100_000, (1, 2)", "look by hand", "the check itself computed for more than"),
        ("['row'], (10_000, 20_000)", "memory", "allocate memory"),
    ],
)
def test_a_reference_is_not_lent_for_hours_and_gigabytes(asked, status, told, tmp_path, monkeypatch):
    cell = f"from vil_lite.teach.checks import ch06\ndef influence(model, x, s):\n    return ch06.reach({asked})"
    monkeypatch.setattr(one, "OWN", -59.5)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        one.limit_memory(1 << 29)
        got = verdict(tmp_path, cell, text='exercises = ["6.6"]', seconds=60)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert got["status"] == status and told in got["message"], got


def test_a_death_costs_one_exercise(tmp_path):
    killer = f"import os\ndef loudness(n, share):\n    os._exit(0)\n{DEAF_FOR}"
    got = verdicts(tmp_path, killer, text='exercises = ["2.1", "2.2"]', seconds=60)
    assert [one["status"] for one in got] == ["died", "right"], got


def test_an_assignment_that_kills_costs_only_those_who_need_it(tmp_path):
    cells = ["import os\nx = os._exit(0)", "def loudness(n, share):\n    return x", "import math\ndef one(): pass"]
    text = 'exercises = ["2.1", "2.2", "2.3"]'
    got = verdicts(tmp_path, *cells, DEAF_FOR, text=text, seconds=60)
    assert [one["status"] for one in got] == ["died", "right", "not attempted"], got


@pytest.mark.parametrize(("kind", "status"), [("Exception", "near miss"), ("BaseException", "right")])
def test_an_interruption_reaches_the_worker_as_itself(kind, status, tmp_path):
    cell = (
        "def with_donor(names, donor, block, call):\n    before, names[donor] = names[donor], block\n    try:\n        result = call()\n"
        f"    except {kind}:\n        names[donor] = before\n        raise\n    names[donor] = before\n    return result"
    )
    got = verdict(tmp_path, cell, text='exercises = ["14.2"]', seconds=60)
    assert got["status"] == status and ("Ctrl-C" in got["mistake"]) == (status == "near miss"), got


def test_nothing_that_trains_is_run(tmp_path):
    assert (
        verdict(tmp_path, "while True:\n    pass", "import time\ntime.sleep(100)", "h = time.sleep(100)", RIGHT)[
            "status"
        ]
        == "right"
    )


@pytest.mark.parametrize(
    ("cells", "status", "told"),
    [
        (["%matplotlib inline\n!pip install x\nimport math", RIGHT + "\nmath.log?"], "right", ""),
        (["%%bash\nrm -rf /", RIGHT], "right", ""),
        (["1 / 0", "undefined = nothing", RIGHT], "right", ""),
        (["def broken(:\n", RIGHT], "right", ""),
        ([RIGHT, SHARE + "return 1 +"], "wrong", "the cell is no Python"),
        ([RIGHT, SHARE.replace("share)", "share=nothing)") + "return 1"], "wrong", "NameError"),
        ([RIGHT, 'def loudness(n, share):\n    raise NotImplementedError("your turn")'], "not attempted", ""),
        ([SHARE + "return 1 +", RIGHT], "right", ""),  # a draft that was left standing
        ([SHARE.replace("share)", "share=nothing)") + "return 1", RIGHT], "right", ""),
        ([RIGHT, SHARE + "return 1 +", "loudness = ch02.check_loudness(loudness)"], "wrong", "the cell is no Python"),
        ([RIGHT.replace("math.log", "log") + "\nlog = math.log", "def log(:"], "right", ""),  # as in Jupyter
        ([RIGHT, "def loudness(:", "if False:\n    def loudness(n, share): pass"], "wrong", "the cell is no Python"),
        ([RIGHT.replace("n * share", "(n\n        % 10**9\n        * share)")], "right", ""),
        (["%cd x\nfiles = !ls '\n" + RIGHT + "\nx = %time loudness(3, 0.5)\n?math\n!ls ("], "right", ""),
        (["%cd x\n" + SHARE + 'x = """\n%d\n!""" % n\n    raise ValueError(x.split())'], "wrong", "'!']"),
        ([SHARE + "raise NotImplementedError"], "not attempted", ""),
        (["x = 1"], "not attempted", ""),
        ([SHARE + "return math.log(2)"], "wrong", "NameError: name 'math' is not defined, in line 2"),
        (["import math\nloudness = lambda n, share: math.log(n * share / (1 - share))"], "right", ""),
    ],
)
def test_what_counts_of_a_notebook(cells, status, told, tmp_path):
    got = verdict(tmp_path, *cells)
    assert got["status"] == status, got
    assert told in got["message"]


def test_counting_the_calls_does_not_help_a_test_of_equality(tmp_path):
    counting = (
        "import torch\ncalls = 0\ndef agree(form, reference):\n    global calls\n    calls += 1\n    return calls <= 3"
    )
    got = verdict(tmp_path, counting, text='exercises = ["4.5"]', seconds=60)
    assert got["status"] in ("wrong", "near miss") and got["points"] == 0, got


def test_the_message_of_a_wrong_answer_keeps_the_seed_to_itself(tmp_path):
    told = verdict(tmp_path, SHARE + "return share")["message"]
    assert "how loud" in told and "seed" not in told and "again" not in told, told


def test_the_sandbox_holds_no_check_no_grader_and_no_file_of_the_teacher(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the class seed")
    look = (
        "import os\ndef loudness(n, share):\n    found = []\n    for at, below, files in os.walk('/'):\n"
        "        below[:] = [f for f in below if f not in ('usr', 'proc') and (f == 'vil_lite' or 'packages' not in at)]\n"
        "        found += [os.path.join(at, f) for f in files]\n"
        "    bad = [f for f in found if 'teach/checks' in f or 'vil_lite/grade' in f or f.endswith('secret.txt')]\n"
        "    there = [f for f in found if f.endswith(('vil_lite/mlstm.py', 'vil_lite/teach/tasks.py'))]\n"
        "    raise ValueError(f'{len(there)} of the library, {bad[:3]} of the teacher')"  # a message is cut, and must not be
    )
    assert "2 of the library, [] of the teacher" in verdict(tmp_path, look, seconds=60)["message"]


def test_no_file_of_the_teacher_can_be_written(tmp_path):
    grades = tmp_path / "grades.csv"
    grades.write_text("as it was")
    one = tmp_path / "assignment.toml"
    deed = f"""
import os, glob
def loudness(n, share):
    done = []
    for path in ({str(grades)!r}, {str(one)!r}, {str(tmp_path / "submission.ipynb")!r}, {str(tmp_path / "new")!r}, "/student/worker/worker.py", os.__file__):
        try:
            open(path, "a").write("x")
            done.append(path)
        except OSError:
            pass
    raise ValueError(f"written: {{done}}")
"""
    assert "written: []" in verdict(tmp_path, deed)["message"]
    assert grades.read_text() == "as it was" and not (tmp_path / "new").exists()


def test_the_worker_is_no_root(tmp_path):
    told = verdict(tmp_path, "import os\ndef loudness(n, share):\n    raise ValueError(f'user {os.getuid()}')")[
        "message"
    ]
    assert f"user {os.getuid() or 65534}" in told


def test_nothing_of_a_worker_is_left(tmp_path):
    """Nor one that has left its session: it goes by a name that nobody else has."""
    name = f"left-{os.getpid()}"
    deed = f"import ctypes, os\n    if ctypes.CDLL(None).prctl(15, b'{name}'): return 0.0\n"
    deed += "    os.setsid()\n    while True: pass"
    assert verdict(tmp_path, SHARE + deed, seconds=1)["status"] == "time"
    deadline = time.monotonic() + 10  # the kernel ends what is in the sandbox soon after it has ended the sandbox
    while left := [path for path in Path("/proc").glob("[0-9]*/comm") if _read(path) == f"{name}\n".encode()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended meanwhile


def test_a_check_that_fails_itself_is_looked_at_by_hand(tmp_path, monkeypatch):
    known = one.assignments.catalogue()
    monkeypatch.setattr(known["2.1"], "outcome", lambda *_: 1 / 0)
    monkeypatch.setattr(one.assignments, "catalogue", lambda: known)
    (tmp_path / "a.ipynb").write_text(notebook(RIGHT))
    got = one.grade(plan(tmp_path), tmp_path / "a.ipynb")["verdicts"][0]
    assert got["status"] == "look by hand" and "ZeroDivisionError" in got["message"]
