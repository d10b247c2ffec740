"""Download a file once: resumable, checked, and in its place only when it is whole."""

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

import torch


def cache_folder():
    """Where torch.hub keeps downloaded weights ($TORCH_HOME/hub/checkpoints); this library does the same."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def download(url, path, sha256=None, timeout=30.0):
    """Download url to path, unless path is there; returns path.

    The bytes go to PATH.part.  Called again after a break, it asks the server for the rest (HTTP Range); a server that
    has another file by now, or knows no ranges, sends it from the start.  The length is checked against what the server
    announced, and sha256 (hexadecimal) against the whole file; only then the file gets its name, in one step.
    Raises OSError when the server cannot be reached, has no such file, or breaks off; ValueError for a wrong sha256.
    """
    path = Path(path)
    if path.exists():
        if sha256 is not None and (found := _sha256(path)) != sha256.lower():
            raise ValueError(f"{path} has the SHA-256 {found}, wanted {sha256.lower()}; delete it to download it again")
        return path
    part, origin = (path.with_name(path.name + end) for end in (".part", ".part.origin"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"downloading {url}\n         to {path}", file=sys.stderr)
        _fetch(url, part, origin, timeout)
    except urllib.error.HTTPError as error:
        raise OSError(f"the server answers {error.code} {error.reason} for {url}{_by_hand(path)}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        kept = f"; {part.stat().st_size:,} bytes are kept, the next call asks for the rest" if part.exists() else ""
        raise OSError(f"could not download {url}: {reason}{kept}{_by_hand(path)}") from None
    if sha256 is not None and (found := _sha256(part)) != sha256.lower():
        _forget(part, origin)
        raise ValueError(
            f"{url} is not the file that is wanted: its SHA-256 is {found}, wanted {sha256.lower()}. The download was "
            "deleted; try again, and if this comes back, the file on the server was changed"
        )
    os.replace(part, path)
    _forget(origin)
    return path


def _fetch(url, part, origin, timeout):
    """Fill `part` from url, going on where it ends.  `origin` holds the ETag or date of the file that it is a part of."""
    start = part.stat().st_size if part.exists() and origin.exists() else 0
    headers = {"User-Agent": "vil_lite"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": origin.read_text(encoding="utf-8")}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range", "").removeprefix("bytes */") == str(start):
            return  # nothing is missing
        _forget(part, origin)  # longer than the file: not a part of it
        return _fetch(url, part, origin, timeout)
    with response:
        if response.status != 206:  # the whole file, because it was asked for or because ranges are not known
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ConnectionError(f"asked for the bytes from {start:,} on, the server sent others")
        total = _total(response, start)
        with open(part, "ab" if start else "wb") as file:
            _remember(response, origin)
            while block := response.read(1 << 20):
                file.write(block)
    size = part.stat().st_size
    if total is not None and size > total:
        _forget(part, origin)
    if total is not None and size != total:
        raise ConnectionError(f"{size:,} of {total:,} bytes came")


def _total(response, start):
    """The length of the whole file in bytes, None if the server does not say."""
    length = response.headers.get("Content-Length")
    return None if length is None else start + int(length)


def _remember(response, origin):
    """Keep what identifies the file, so that a rest is never joined to a part of another one."""
    etag, date = (response.headers.get(name) or "" for name in ("ETag", "Last-Modified"))
    identity = date if etag.startswith("W/") or not etag else etag
    if identity:
        origin.write_text(identity, encoding="utf-8")
    else:
        _forget(origin)  # it cannot be identified: the next call starts from the beginning


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _forget(*paths):
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _by_hand(path):
    return f".\nTo do it by hand: save the file as {path.name} in {path.parent}"
