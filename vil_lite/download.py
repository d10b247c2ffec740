"""Chapter 10: download a file once: resumable, checked, and in its place only when it is whole.

What torch.hub.download_url_to_file does not do: it takes a transfer that breaks off for the whole file, and begins again.
"""

import hashlib
import http.client
import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vil_lite._files import UNFINISHED, fcntl


def cache_folder() -> Path:
    """Where torch.hub keeps downloaded weights ($TORCH_HOME/hub/checkpoints); this library does the same."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def download(url: str, path: str | Path, sha256: str | None = None, timeout: float = 30.0) -> Path:
    """Download url to path, unless path is there; returns path.

    The bytes go to PATH.unfinished, which outlives a break, as what vil_lite._files writes does not.  Called again, it asks the
    server for the rest (HTTP Range); a server that has another file by now, or knows no ranges, sends it from the start.
    The length is checked against what the server announced, and sha256 (hexadecimal) against the whole file; only then
    the file gets its name, in one step.  Of several processes or threads that ask for one file, one downloads, the others wait.
    Raises OSError when the server cannot be reached, has no such file, or breaks off; ValueError for a wrong sha256.
    """
    path = Path(path)
    if path.exists():
        return _checked(path, sha256)
    part = path.with_name(path.name + UNFINISHED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _turn(part) as part:
            if path.exists():  # another has brought it meanwhile
                return _checked(path, sha256)
            origin = part.with_name(f"{part.name}.origin")
            print(f"downloading {url}\n         to {path}", file=sys.stderr)
            _fetch(url, part, origin, timeout)
            if sha256 is not None and (found := _sha256(part)) != sha256.lower():
                part.unlink()
                origin.unlink(missing_ok=True)
                raise ValueError(
                    f"{url} is not the file that is wanted: its SHA-256 is {found}, wanted {sha256.lower()}. The download "
                    "was deleted; try again, and if this comes back, the file on the server was changed"
                )
            os.replace(part, path)
            origin.unlink(missing_ok=True)
            return path
    except urllib.error.HTTPError as error:
        raise OSError(f"the server answers {error.code} {error.reason} for {url}{_by_hand(path)}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        kept = f"; {part.stat().st_size:,} bytes are kept, the next call asks for the rest" if part.exists() else ""
        raise OSError(f"could not download {url}: {reason}{kept}{_by_hand(path)}") from None


def _checked(path: Path, sha256: str | None) -> Path:
    if sha256 is not None and (found := _sha256(path)) != sha256.lower():
        raise ValueError(f"{path} has the SHA-256 {found}, wanted {sha256.lower()}; delete it to download it again")
    return path


@contextmanager
def _turn(part: Path) -> Iterator[Path]:
    """Wait until nobody else fills `part`, then yield it; on a disk without locks a part of one's own, which is not kept."""
    if fcntl is None:
        yield part
        return
    lock, own = (part.with_name(f"{part.name}.{end}") for end in ("lock", f"{os.getpid()}-{threading.get_ident()}"))
    mine = False
    while not mine:
        with open(lock, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)  # of its kinds of lock the one that stops threads, too
                mine = os.path.samestat(os.fstat(file.fileno()), lock.stat())
            except FileNotFoundError:  # whoever had it before has removed it
                continue
            except OSError:
                mine, part = True, own
            if mine:
                try:
                    yield part
                finally:
                    for left in (lock, own, own.with_name(f"{own.name}.origin")):
                        left.unlink(missing_ok=True)


def _fetch(url: str, part: Path, origin: Path, timeout: float) -> None:
    """Fill `part` from url, going on where it ends.  `origin` holds the ETag or date of the file that it is a part of."""
    identity = origin.read_text(encoding="utf-8") if origin.exists() else ""
    start = part.stat().st_size if part.exists() and identity else 0
    headers = {"User-Agent": "vil_lite"} | ({"Range": f"bytes={start}-", "If-Range": identity} if start else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        origin.unlink()  # the part is as long as the file or longer: not a part of it; without origin it does not count
        return _fetch(url, part, origin, timeout)
    with response:
        if response.status != 206:  # the whole file, because it was asked for or because ranges are not known
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ConnectionError(f"asked for the bytes from {start:,} on, the server sent others")
        # What identifies the file, so that a rest is never joined to a part of another one; nothing: the next call starts anew.
        etag, date = (response.headers.get(name) or "" for name in ("ETag", "Last-Modified"))
        origin.write_text(date if etag.startswith("W/") else etag or date, encoding="utf-8")
        with open(part, "ab" if start else "wb") as file:
            shutil.copyfileobj(response, file, 1 << 20)
    length, size = response.headers.get("Content-Length"), part.stat().st_size
    if length is not None and size != start + int(length):
        raise ConnectionError(f"{size:,} of {start + int(length):,} bytes came")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _by_hand(path: Path) -> str:
    return f".\nTo do it by hand: save the file as {path.name} in {path.parent}"
