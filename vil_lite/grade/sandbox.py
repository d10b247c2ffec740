"""Where a worker runs: what it sees of the machine, and how long the grader waits for it.

The sandbox (bubblewrap): no network, no other process, no home, no capabilities, a read-only Python, a `vil_lite`
without `teach/checks` and without this package, 64 MiB of its own in /tmp.  The worker sets its own limits on memory,
processor time, processes and files before the student's code begins (worker.py), and nobody can raise them again.
Root is given away first: the limit on processes does not bind root.
"""

import importlib.util
import os
import pwd
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import vil_lite

from .values import decode, folder_files
from .wire import Broken, Peer, nonsense

HERE = Path(__file__).parent
LIBRARY = Path(vil_lite.__file__).parent
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")
LONGEST = 8 << 20  # bytes of one message from a worker
NOT_STARTED = "the worker did not start"
STARTING = 120  # seconds until it says "ready": importing torch on a busy machine
NEEDED = ("torch", "numpy")  # what a worker has to find
WITHOUT = """No sandbox here: {why}.
{remedy}
  --unsafe         run the submissions without a sandbox, with your rights on your files: only for code that you have read"""
INSTALL = """  Debian, Ubuntu   sudo apt-get install bubblewrap      Fedora   sudo dnf install bubblewrap
  macOS, Windows   there is no bubblewrap: grade inside Linux (WSL 2, a container, a virtual machine)"""
UNKNOWN = "  see first whether `bwrap --ro-bind / / true` starts"
REMEDIES = {  # what bwrap says: what helps
    "Unknown option": "  bubblewrap 0.7 or newer is wanted: Debian 12 and Ubuntu 24.04 have it",
    "setuid mode": "  take away its setuid bit (sudo chmod u-s /usr/bin/bwrap), or grade as root",
    "uid map|ermission|not permitted": """  namespaces seem to be forbidden here
  Ubuntu 24.04     sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or grade as root
  a container      start it with the right to make namespaces (docker run --privileged)""",
}


class NoSandbox(RuntimeError):
    """This machine cannot isolate a worker."""


def check_sandbox(*secret: Path, unsafe: bool = False) -> None:
    """Raise NoSandbox with what to do, unless a worker can start here, finds torch, and finds nothing that is secret.

    secret: files and folders that no submission may read, beside the checks; unsafe: without a sandbox they all can.
    """
    if not unsafe:
        if not sys.platform.startswith("linux") or not shutil.which("bwrap"):
            raise NoSandbox(WITHOUT.format(why="bubblewrap (bwrap) is not installed", remedy=INSTALL))
        ordinary_user()
        covered = {Path(path).resolve() for path in installed()}
        for path in (*secret, *({LIBRARY.resolve()} - covered)):
            for seen in (*SYSTEM, sys.prefix, sys.base_prefix):
                if Path(path).resolve().is_relative_to(Path(seen).resolve()):
                    raise NoSandbox(f"{path} lies in {seen}, which submissions can read: move it to another place")
    look = "import importlib.util as u, sys; print(*[name for name in sys.argv[1:] if not u.find_spec(name)])"
    command = [*([] if unsafe else isolated()), sys.executable, "-I", "-c", look, *NEEDED]
    trial = subprocess.run(command, capture_output=True, text=True)
    if trial.returncode:
        remedy = next((text for said, text in REMEDIES.items() if re.search(said, trial.stderr)), UNKNOWN)
        raise NoSandbox(WITHOUT.format(why=f"bwrap does not start ({trial.stderr.strip()[:300]})", remedy=remedy))
    for name in trial.stdout.split():
        spec = importlib.util.find_spec(name)
        place = f": it lies in {Path(spec.origin).parents[1]}" if spec and spec.origin else ""
        raise NoSandbox(
            f"submissions would find no {name}{place}, outside {sys.prefix}.\n"
            "  Install torch and vil_lite into one virtual environment, and grade with its Python"
        )


def isolated() -> list[str]:
    """The bubblewrap command in front of a program."""
    root = os.geteuid() == 0
    command = ["bwrap", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    if root:  # a user namespace would leave it root outside; the worker gives root away itself
        command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-all"]
    seen = {path: path for path in SYSTEM}
    seen |= {path: path for path in (sys.base_prefix, sys.prefix) if not Path(path).resolve().is_relative_to("/usr")}
    seen |= {f"/student/library/vil_lite/{path.relative_to(LIBRARY)}": str(path) for path in library()}
    seen |= {
        f"/student/worker/{name}": str(HERE / name) for name in ("worker.py", "wire.py", "values.py", "seccomp.py")
    }
    for folder in sorted({str(parent) for path in seen for parent in Path(path).parents} - {"/"}):
        command += ["--perms", "0755", "--dir", folder]
    for there, here in seen.items():
        command += ["--ro-bind-try", here, there]
    for path in installed():
        command += ["--tmpfs", path, "--remount-ro", path]
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    command += ["--perms", "1777", "--size", str(64 << 20), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"]
    for name, value in environment().items():
        command += ["--setenv", name, value]
    return [*command, "--"]


def library() -> list[Path]:
    """What students get of vil_lite: all but teach/checks and the grading."""
    hidden = {LIBRARY / "grade", LIBRARY / "teach"}
    kept = [path for path in LIBRARY.iterdir() if path not in hidden]
    kept += [path for path in (LIBRARY / "teach").iterdir() if path.name != "checks"]
    return sorted(path for path in kept if path.name != "__pycache__")


def installed() -> list[str]:
    """Each installed vil_lite, this Python's and that of the Python below it: they hold the checks."""
    packages = [Path(path) for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    for root in ("/usr", "/usr/local", sys.base_prefix, sys.prefix):
        packages += Path(root).glob("lib/python3*/*-packages")
    return sorted({str(path / "vil_lite") for path in packages if (path / "vil_lite").is_dir()})


def environment() -> dict[str, str]:
    """One thread, no caches, no network; nothing of the teacher's environment."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    quiet = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1"}
    return threads | quiet | {"HOME": "/tmp", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def ordinary_user() -> str:
    """The user that root becomes in the sandbox, "" where the grader is no root."""
    if os.geteuid():
        return ""
    try:
        return str(pwd.getpwnam("nobody").pw_uid)
    except KeyError:
        raise NoSandbox("you are root and there is no user `nobody` to become: grade as an ordinary user") from None


class Sandbox(Peer):
    """A worker, and the grader's end of the wire to it.  Kills it when the time is used up.

    find: what the student's code may call by name.
    """

    def __init__(self, unsafe: bool, find):
        super().__init__(self.read_line, self.write_line, find)
        worker = str(HERE / "worker.py") if unsafe else "/student/worker/worker.py"
        command = [] if unsafe else isolated()
        command += [sys.executable, "-I", "-B", worker] + ([] if unsafe else [ordinary_user()])
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env=os.environ | environment() | {"HOME": "/nonexistent"} if unsafe else None,
            )
        except OSError as error:
            raise NoSandbox(f"no worker can be started ({error}); give the same command again") from None
        self.buffer, self.left = b"", float(STARTING)

    def define(self, cells, names, seconds: float, memory: int) -> dict:
        """Have the worker define these names.  seconds: for that, from "ready" on; in all, it may compute ten times as long."""
        self.number += 1
        wanted = {"do": "define", "cells": cells, "names": names, "memory": memory, "seconds": int(10 * seconds) + 10}
        self.send(wanted | {"id": self.number})
        try:
            self.receive()
        except Broken:
            self.close()
            raise Broken("look by hand", f"{NOT_STARTED}: {self.said or 'it said nothing'}") from None
        self.allow(seconds)
        reply = self.receive()
        while reply["do"] not in ("reply", "error"):  # a definition may call a reference
            self.serve(reply)
            reply = self.receive()
        try:
            return decode(reply["value"], self, [])
        except Exception as error:
            raise nonsense(error) from None

    def allow(self, seconds: float) -> None:
        """From now on wait so many seconds in all; forget what an earlier exercise has sent."""
        self.left = seconds
        self.kept, self.raised, self.stands = [], [], {}
        self.serving, self.asking = [], []
        self.calls.clear()

    def read_line(self) -> bytes:
        begun = time.monotonic()
        while b"\n" not in self.buffer:
            rest = self.left - (time.monotonic() - begun)
            if rest <= 0 or not select.select([self.process.stdout], [], [], rest)[0]:
                self.close()
                raise Broken(
                    "time", "not finished in time: is there an endless loop, or a loop where one product would do?"
                )
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            self.buffer += more
            if not more:
                self.close()
                raise Broken(
                    "died", "the process ended without an answer (sys.exit, a crash in a library, or too much memory)"
                )
            if len(self.buffer) > LONGEST:
                self.close()
                raise Broken("look by hand", f"an answer of more than {LONGEST >> 20} MiB")
        self.left -= time.monotonic() - begun
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def write_line(self, line: bytes) -> None:
        """Write without ever waiting for a worker that does not read."""
        begun, descriptor = time.monotonic(), self.process.stdin.fileno()
        os.set_blocking(descriptor, False)
        while line:
            rest = self.left - (time.monotonic() - begun)
            if rest <= 0 or not select.select([], [descriptor], [], rest)[1]:
                self.close()
                raise Broken("time", "not finished in time: the worker does not listen any more")
            try:
                line = line[os.write(descriptor, line) :]
            except OSError:
                self.close()
                raise Broken("died", "the process ended before it was asked") from None

    def files(self, path):
        return folder_files(path)

    def close(self) -> None:
        """End the worker, and with it everything in its sandbox."""
        if self.process.stderr.closed:
            return
        self.process.kill()
        self.process.wait()
        os.set_blocking(self.process.stderr.fileno(), False)  # it speaks only before the student's code begins
        self.said = " ".join((self.process.stderr.read(2000) or b"").decode(errors="replace").splitlines()[-1:])[:300]
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
