"""Downloads against a real HTTP server on this machine: whole, broken off, resumed, changed, wrong, missing, foreign."""

import errno
import fcntl
import hashlib
import io
import multiprocessing
import pickle
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from test_checkpoints import to_raw
from test_model import golden_model

from vil_lite import VisionLSTM, create_model, model
from vil_lite.checkpoints import FILES, official_state_dict, read_state_dict
from vil_lite.download import download

FILE = FILES["vil_tiny"][0]


class Server(ThreadingHTTPServer):
    """Serves `files` {name: bytes}.  ranges: answer Range requests.  stop: break off after so many bytes, once.

    slow: seconds between the two halves of a file.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ranges, self.stop, self.slow, self.asked = {}, True, None, 0, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, data = self.server, self.server.files.get(self.path.strip("/"))
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if data is None:
            return self.send_error(404, "Not Found")
        tag, start = f'"{hashlib.md5(data).hexdigest()}"', 0
        if asked and server.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(data) > 0 and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end, server.stop = server.stop, None
        half = (start + len(data)) // 2
        self.wfile.write(data[start:end][: half - start])
        time.sleep(server.slow)
        self.wfile.write(data[start:end][half - start :])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = Server()
    monkeypatch.setenv("VIL_LITE_CHECKPOINTS", server.url)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(params=["vil_v1.npz", "vil_v2.npz"])
def published(request, server, monkeypatch):
    """A small model under a published name, its file in the raw layout on the server: (name, file, model, images, logits)."""
    reference, weights, images, wanted, config = golden_model(request.param)
    name = {1: "vil_tiny", 2: "vil2_tiny"}[config["version"]]
    file = FILES[name][0]
    monkeypatch.setitem(model.SIZES, name, (config["dim"], config["depth"] * config["version"], config["version"]))
    saved = io.BytesIO()
    raw = {key: value.float() for key, value in to_raw(weights, config["version"]).items()}
    torch.save({"state_dict": raw, "epoch": 800}, saved)
    server.files[file] = saved.getvalue()
    options = {"patch_size": config["patch_size"], "image_size": tuple(config["image_size"])}
    return name, file, options, images, wanted, config["num_classes"]


def test_a_published_file_from_the_server_to_the_logits(published, server, folder):
    name, file, options, images, wanted, classes = published
    net = VisionLSTM(*model.SIZES[name], num_classes=classes, **options)
    model.load_official_state_dict(net, official_state_dict(name))
    assert (net.double().eval()(images) - wanted).abs().max() < 1e-6 * wanted.abs().max()
    assert sorted(p.name for p in folder.iterdir()) == [file]
    official_state_dict(name)
    assert len(server.asked) == 1  # the second time it is there


def test_create_model_pretrained_keeps_the_features_and_makes_a_new_head(published, server):
    name, file, options, images, wanted, classes = published
    net = create_model(name, pretrained=True, num_classes=3, **options)
    saved = torch.load(io.BytesIO(server.files[file]), weights_only=True)["state_dict"]
    assert torch.equal(net.encoder.blocks[1].layer.proj_up.weight, saved["xlstm.blocks.1.xlstm.proj_up.weight"])
    assert net.head.weight.shape[0] == 3
    again = create_model(name, pretrained=file, num_classes=0, **options)
    assert torch.equal(again.encoder.blocks[0].norm.weight, net.encoder.blocks[0].norm.weight)
    with pytest.raises(ValueError, match="reset_head=True"):
        create_model(name, pretrained=True, **options)  # 1000 classes against the file's few


@pytest.fixture
def big(server):
    server.files["big"] = torch.arange(400_000).numpy().tobytes()
    return server.files["big"]


def test_broken_off_half_way_then_resumed(server, big, tmp_path, capsys):
    server.stop = len(big) // 2
    with pytest.raises(OSError, match=r"1,600,000 of 3,200,000 bytes.*kept, the next call asks for the rest"):
        download(server.url + "big", tmp_path / "big")
    assert not (tmp_path / "big").exists()
    download(server.url + "big", tmp_path / "big", hashlib.sha256(big).hexdigest())
    assert server.asked == [None, "bytes=1600000-"]
    assert (tmp_path / "big").read_bytes() == big
    assert [p.name for p in tmp_path.glob("big*")] == ["big"]
    assert "downloading" in capsys.readouterr().err


@pytest.mark.parametrize("locks", [True, False])
def test_who_comes_while_another_downloads_waits_for_it(server, big, tmp_path, monkeypatch, locks):
    """Processes of a launch and threads; where files cannot be locked, each downloads for itself."""

    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    if not locks:
        monkeypatch.setattr(fcntl, "flock", refused)
    server.slow = 0.3

    def ask(wait):
        time.sleep(wait)
        return download(server.url + "big", tmp_path / "big", hashlib.sha256(big).hexdigest()).read_bytes()

    children = [multiprocessing.get_context("fork").Process(target=ask, args=(wait,)) for wait in (0, 0.1)]
    for child in children:
        child.start()
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(ask, (0, 0.05, 0.4))) == [big] * 3
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert (tmp_path / "big").read_bytes() == big
    assert [p.name for p in tmp_path.glob("big*")] == ["big"]
    assert (len(server.asked) == 1) == locks


def test_a_server_without_ranges_sends_it_from_the_start(server, big, tmp_path):
    server.stop, server.ranges = len(big) // 2, False
    with pytest.raises(OSError):
        download(server.url + "big", tmp_path / "big")
    assert download(server.url + "big", tmp_path / "big").read_bytes() == big


def test_the_rest_of_another_file_is_never_joined(server, big, tmp_path):
    server.stop = len(big) // 2
    with pytest.raises(OSError):
        download(server.url + "big", tmp_path / "big")
    server.files["big"] = big[::-1]
    assert download(server.url + "big", tmp_path / "big").read_bytes() == big[::-1]


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_as_long_as_the_file_or_longer(server, big, tmp_path, extra):
    server.stop = 10
    with pytest.raises(OSError):
        download(server.url + "big", tmp_path / "big")
    (tmp_path / "big.unfinished").write_bytes(big + extra)
    assert download(server.url + "big", tmp_path / "big").read_bytes() == big


def test_tampered_with(server, big, tmp_path):
    wanted = hashlib.sha256(big).hexdigest()
    server.files["big"] = big[:99] + b"!" + big[100:]
    with pytest.raises(ValueError, match="not the file that is wanted.*deleted"):
        download(server.url + "big", tmp_path / "big", wanted)
    assert not list(tmp_path.glob("big*"))
    (tmp_path / "big").write_bytes(big[:-1])  # a file that is there is checked as well
    with pytest.raises(ValueError, match="delete it to download it again"):
        download(server.url + "big", tmp_path / "big", wanted)


def test_the_hash_reaches_the_download(published, server, folder):
    name, file, options, *_ = published
    with pytest.raises(ValueError, match="not the file that is wanted"):
        create_model(name, pretrained=True, sha256="0" * 64, num_classes=0, **options)
    assert not (folder / file).exists()
    create_model(name, pretrained=True, sha256=hashlib.sha256(server.files[file]).hexdigest(), num_classes=0, **options)


def test_a_truncated_file_is_named(published, server, folder):
    name, file, *_ = published
    server.files[file] = server.files[file][: len(server.files[file]) // 2]
    with pytest.raises(ValueError, match=f"{file} is damaged or no checkpoint; delete"):
        official_state_dict(name)


class Attack:
    """What a foreign pickle can do: run any function while it is read."""

    def __reduce__(self):
        return (exec, ("import vil_lite; vil_lite.attacked = True",))


def foreign(kind):
    saved = io.BytesIO()
    if kind == "zip":
        torch.save({"state_dict": Attack()}, saved)
    else:
        pickle.dump({"state_dict": Attack()}, saved)
    return saved.getvalue()


@pytest.mark.parametrize("kind", ["zip", "plain"])
def test_a_foreign_pickle_is_refused_and_not_run(server, kind):
    import vil_lite

    server.files[FILE] = foreign(kind)
    with pytest.raises(ValueError, match=r"was refused.*would have to run code.*delete"):
        official_state_dict("vil_tiny")
    assert not hasattr(vil_lite, "attacked")


@pytest.mark.parametrize("content", [{}, [torch.zeros(2)], {"state_dict": {"a": 1}}, {"epoch": 3}])
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.th")
    with pytest.raises(ValueError, match="no state dict of tensors"):
        read_state_dict(tmp_path / "x.th")


@pytest.mark.parametrize(
    "content",
    [b"<!doctype html><title>Please log in</title>", b'{"error": 404}', b"\0" * 99, b""],
    ids=["page", "JSON", "zeros", "nothing"],
)
def test_another_file_in_place_of_it(server, content):
    server.files[FILE] = content
    with pytest.raises(ValueError, match=f"{FILE} is damaged or no checkpoint; delete .*Error") as told:
        official_state_dict("vil_tiny")
    assert "will likely succeed" not in str(told.value)  # torch advises to read it without care


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [False, True])  # the layout of torch before 1.6, and today's
def test_damage_is_told_as_damage(tmp_path, zipped):
    """Bytes changed, and one left out at the end: the file is named, whatever torch meets in it."""
    whole, chance = io.BytesIO(), random.Random(0)
    torch.save({"a": torch.zeros(2), "b": torch.zeros(3)}, whole, _use_new_zipfile_serialization=zipped)
    for _ in range(300):
        damaged = bytearray(whole.getvalue())
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "x.th").write_bytes(damaged[: chance.choice([-1, None])])
        try:
            read_state_dict(tmp_path / "x.th")
        except ValueError as error:
            assert "x.th" in str(error)
    (tmp_path / "x.th").unlink()
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "x.th")


def test_a_folder_as_the_mirror(published, server, tmp_path, monkeypatch):
    name, file, options, *_ = published
    mirror = tmp_path / "the mirror"
    mirror.mkdir()
    (mirror / file).write_bytes(server.files[file])
    monkeypatch.setenv("VIL_LITE_CHECKPOINTS", str(mirror))
    create_model(name, pretrained=True, num_classes=0, **options)
    monkeypatch.setenv("VIL_LITE_CHECKPOINTS", str(tmp_path / "nowhere"))
    with pytest.raises(
        ValueError, match="VIL_LITE_CHECKPOINTS must be an address .* or a folder that exists, got .*now"
    ):
        official_state_dict(name)


def test_not_there(server, folder):
    with pytest.raises(
        OSError, match=rf"404 Not Found for {server.url}{FILE}.*\n.*save the file as {FILE} in {folder}"
    ):
        create_model("vil_tiny", pretrained=True)


def test_no_network(server, folder):
    server.close()
    with pytest.raises(OSError, match=rf"could not download {server.url}{FILE}: .*refused.*\n.*by hand.*{folder}"):
        create_model("vil_tiny", pretrained=True)


def test_a_file_put_there_by_hand_needs_no_network(published, server, folder):
    name, file, options, *_ = published
    folder.mkdir(parents=True)
    (folder / file).write_bytes(server.files[file])
    server.close()
    create_model(name, pretrained=True, num_classes=0, **options)


def test_names_without_weights():
    with pytest.raises(ValueError, match="no weights are published for 'vil_large'"):
        create_model("vil_large", pretrained=True, depth=1)
    with pytest.raises(ValueError, match="vil_tiny has no file 'x.th'; there are: vil_tiny16_e800"):
        create_model("vil_tiny", pretrained="x.th", depth=1)
