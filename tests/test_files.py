"""Files appear whole or not at all, a folder has one holder; tried with real processes, full disks and read-only folders."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from _disks import read_only, small_disk

import vil_lite
from vil_lite._files import UNFINISHED, claim, whole, write
from vil_lite._names import did_you_mean


def test_a_file_is_whole_or_as_before(tmp_path):
    path = tmp_path / "new" / "a.txt"
    assert write(path, "β\n").read_text(encoding="utf-8") == "β\n"
    with pytest.raises(KeyError), whole(path) as file:
        file.write("half")
        raise KeyError
    assert path.read_text(encoding="utf-8") == "β\n"
    write(path, b"bytes", sync=True)
    assert path.read_bytes() == b"bytes"
    assert os.listdir(path.parent) == ["a.txt"]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode  # others may read it if they may read what `open` writes


@pytest.mark.parametrize(
    "content", ["text" * 10**6, b"bytes" * 10**6, {"a": torch.zeros(10**6)}], ids=lambda c: type(c).__name__
)
def test_a_full_disk_is_named_and_keeps_what_was_there(tmp_path, content):
    with small_disk(tmp_path / "disk", 200) as disk:
        write(disk / "a", "before")
        with pytest.raises(OSError, match=r"(No space left|File too large).*kept; make room: '.*disk/a'"):
            if isinstance(content, dict):
                with whole(disk / "a", "wb") as file:
                    torch.save(content, file)
            else:
                write(disk / "a", content)
        assert (disk / "a").read_text() == "before"
        assert os.listdir(disk) == ["a"]


def test_a_folder_on_a_full_disk_is_not_claimed(tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        if not disk.is_mount():
            pytest.skip("only a mounted disk can be full")
        with pytest.raises(OSError, match="No space"), open(disk / "filler", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with pytest.raises(OSError, match="make room: '.*disk'"), claim(disk):
            pass


def test_a_folder_that_takes_nothing_is_named(tmp_path):
    (tmp_path / "fixed").mkdir()
    with read_only(tmp_path / "fixed") as folder:
        for attempt in (lambda: write(folder / "a", "text"), lambda: write(folder / "new" / "a", "text")):
            with pytest.raises(OSError, match=r"(Read-only|denied).*choose another place: '.*fixed/(new/)?a'"):
                attempt()
        for place in (folder, folder / "new"):
            with pytest.raises(OSError, match=r"choose another place: '.*fixed(/new)?'"), claim(place):
                pass


def in_fresh_process(code, *arguments):
    """Start code that uses _files alone, without torch: that is quick."""
    path = str(Path(vil_lite.__file__).parent)
    command, options = [sys.executable, "-c", code, *arguments], {"stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, start_new_session=True, **options)


def test_a_process_killed_while_it_writes_leaves_what_was_there(tmp_path):
    write(tmp_path / "a", "before")
    code = "import os, sys\nfrom _files import whole\nwith whole(sys.argv[1], sync=True) as file:\n"
    code += " file.write('half')\n file.flush()\n os.kill(os.getpid(), 9)"
    assert in_fresh_process(code, tmp_path / "a").wait() == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "before"
    (left,) = tmp_path.glob(f"a.*{UNFINISHED}")
    assert left.read_text() == "half"
    with claim(tmp_path):
        assert not left.exists()


@pytest.mark.parametrize("place", ["/elsewhere", "beside"])
def test_errors_about_other_files_stay_what_they_are(tmp_path, place):
    other = PermissionError(
        13, "Permission denied", str((tmp_path if place == "beside" else Path(place)) / "photo.jpg")
    )
    with pytest.raises(PermissionError, match="Permission denied: '.*/photo.jpg"), whole(tmp_path / "a"):
        raise other
    with pytest.raises(PermissionError, match="Permission denied: '.*/photo.jpg"), claim(tmp_path):
        raise other


def test_an_interrupt_while_the_disk_is_full_stays_one(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "a"):
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise KeyboardInterrupt from None


def test_a_link_stays_and_the_file_that_it_leads_to_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    write(tmp_path / "disk" / "real", "before")
    (tmp_path / "link").symlink_to("disk/real")
    write(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / "real").read_text() == "after"
    assert os.listdir(tmp_path / "disk") == ["real"]


def test_one_holder_at_a_time(tmp_path):
    code = "import os, sys, time\nfrom _files import claim\nwith claim(sys.argv[1]):\n"
    # The child of the holder, like a process that loads data, must not hold the folder when its parent is gone.
    code += " if os.fork() == 0: time.sleep(60)\n print('held', flush=True)\n time.sleep(60)"
    holder = in_fresh_process(code, tmp_path)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(BlockingIOError, match=rf"in use by process {holder.pid}; .*{tmp_path.name}'"),
            claim(tmp_path),
        ):
            pass
        holder.kill()
        holder.wait()
        refused = pytest.raises(BlockingIOError, match="this process itself")
        with (
            claim(tmp_path),
            claim(tmp_path),
            ThreadPoolExecutor() as pool,
            refused,
        ):  # the same thread may, another not
            pool.submit(claim(tmp_path).__enter__).result()
        with claim(tmp_path):
            pass
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()


def test_a_forked_process_does_not_hold_what_its_parent_holds(tmp_path):
    code = """
import os, sys
from _files import claim
with claim(sys.argv[1]):
    for _ in range(2):
        if os.fork() == 0:
            try:
                with claim(sys.argv[1]):
                    print("held twice", flush=True)
            except BlockingIOError as error:
                print(f"process {os.getppid()};" in str(error), flush=True)
            sys.exit()
        os.wait()
with claim(sys.argv[1]):
    print("held again")
"""
    assert in_fresh_process(code, tmp_path).communicate()[0].split("\n") == ["True", "True", "held again", ""]


def test_room_is_asked_for_before_it_is_needed(tmp_path):
    wanted = r"1000000.00 GB are needed, .* are free; make room, or choose another folder: '.*'$"
    with pytest.raises(OSError, match=wanted), claim(tmp_path, needs=10**15):
        pass
    with claim(tmp_path), pytest.raises(OSError, match=wanted), claim(tmp_path, needs=10**15):
        pass


def test_a_name_close_to_a_known_one():
    assert did_you_mean("vil_tiy", ["vil_tiny", "vil_base"]) == " (did you mean 'vil_tiny'?)"
    assert did_you_mean(7, ["vil_tiny"]) == ""
