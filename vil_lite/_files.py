"""Files that appear whole or not at all, and folders that one process holds at a time.

with whole("run/checkpoint.pt", "wb", sync=True) as file:
    torch.save(state, file)             # a reader meets the file of before or this one, never a part
with claim("run"):                      # a second process that tries the same is told who holds the folder
    ...
"""

import errno
import os
import shutil
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows: a folder is tried there, not held
    fcntl = None

UNFINISHED = ".unfinished"  # how the name of a file ends while it is written
HOLDER = ".held-by"  # in a claimed folder: locked while it is held, says by which process
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_held = {}  # folder -> ((process, thread), token) of this process: a lock does not stop the process that has it


@contextmanager
def whole(path, mode="w", sync=False, **options):
    """Open a file for writing ("w" or "wb"; options as for `open`; text is UTF-8) that gets its name when the block ends.

    If the block raises or the process dies, what stood at `path` stands there still.  Missing folders are made; of a link
    the file that it leads to is written.
    sync: wait until the disk has it; for what must outlive a power cut.
    Raises OSError that names path and remedy where the disk is full or may not be written.
    """
    path = Path(os.path.realpath(path) if os.path.islink(path) else path)
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, mode, **{"encoding": None if "b" in mode else "utf-8", **options}) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
        if sync and fcntl:
            _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if told := _explained(error, path, part):
            raise told from error
        raise


def write(path, content, sync=False):
    """Write text (as UTF-8) or bytes as `whole` does; returns path."""
    with whole(path, "wb" if isinstance(content, bytes) else "w", sync) as file:
        file.write(content)
    return Path(path)


@contextmanager
def claim(folder, needs=0):
    """Hold a folder, made if it is missing, while the block runs; what dead processes left unfinished in it is removed.

    Within the block its thread may claim the folder again.   needs: bytes that must be free.
    Raises BlockingIOError that names the process which holds the folder, OSError that names folder and remedy where it
    is a file, cannot be written, or the disk has not the room.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "is a file; choose a folder", str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key, me = folder.resolve(), ((os.getpid(), threading.get_ident()), object())
        if _held.get(key, me)[0][0] != os.getpid():
            _held.pop(key, None)  # the parent of this process, when it forked: the lock tells whether it still does
        holder = _held.setdefault(key, me)
        if holder[0] != me[0]:
            raise _in_use(folder, "this process itself")
    except OSError as error:
        if told := _explained(error, folder):
            raise told from error
        raise
    if holder is not me:
        _check_room(folder, needs)
        yield folder
        return
    try:
        file = _lock(folder)
    except BaseException as error:
        del _held[key]
        if told := _explained(error, folder, folder / HOLDER):
            raise told from error
        raise
    try:
        _check_room(folder, needs)
        for left in folder.glob(f"*{UNFINISHED}"):
            left.unlink(missing_ok=True)
        yield folder
    finally:
        file.close()
        _held.pop(key, None)  # it may be gone in a forked child


def _lock(folder):
    """The file whose lock holds the folder, open."""
    with ExitStack() as undo:
        file = undo.enter_context(open(folder / HOLDER, "a+"))
        try:
            # A record lock, not flock: processes that load data are forked, and must not hold the folder after their parent.
            if fcntl:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise _in_use(folder, f"process {file.read() or 'unknown'}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()  # a full disk says so here
        undo.pop_all()
    return file


def _check_room(folder, needs):
    if (free := shutil.disk_usage(folder).free) < needs:
        told = f"{_size(needs)} are needed, {_size(free)} are free; make room, or choose another folder"
        raise OSError(errno.ENOSPC, told, str(folder))


def _in_use(folder, who):
    return BlockingIOError(errno.EAGAIN, f"in use by {who}; wait for it to end, or choose another folder", str(folder))


def _explained(error, path, own=None):
    """The OSError behind an exception (torch.save hides it), in words with path and remedy; None if there is none to tell.

    own: the file that stands for `path` meanwhile.
    """
    if not isinstance(error, Exception):  # whoever interrupts is to be heard
        return None
    while error is not None and not (isinstance(error, OSError) and error.errno in FULL | FORBIDDEN):
        error = error.__context__
    named = None if error is None or error.filename is None else Path(error.filename)
    if error is None or named and named not in (own, path, *path.parents):
        return None  # it is about another file
    if error.errno in FORBIDDEN:
        return OSError(error.errno, f"{error.strerror}: may not be written; choose another place", str(path))
    return OSError(error.errno, f"{error.strerror}: not written, what was there is kept; make room", str(path))


def _sync_folder(folder):
    """Have the disk note the new name, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(count):
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
