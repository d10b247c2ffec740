"""Does every tensor follow its input to a GPU?  PyTorch's fake tensors tell without one: they refuse to mix devices."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vil_lite import VisionLSTM
from vil_lite.block import DESIGNS
from vil_lite.inspection import cut_heads, forgetful
from vil_lite.mlstm import MLSTMState, mlstm_chunkwise, mlstm_chunkwise_loop, mlstm_parallel, mlstm_recurrent

FORMS = [mlstm_recurrent, mlstm_parallel, mlstm_chunkwise_loop, mlstm_chunkwise]


def on_a_gpu(module, mode):
    """The module's weights as fake tensors on "cuda"; initialisers draw numbers, so it was built outside."""
    with mode:
        for part in module.modules():
            for name, p in part._parameters.items():
                if p is not None:
                    part._parameters[name] = torch.nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device="cuda"))
            for name, b in part._buffers.items():
                if b is not None:
                    part._buffers[name] = torch.empty(b.shape, dtype=b.dtype, device="cuda")
    return module


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("S", [9, 97])
def test_the_forms_stay_on_the_device(form, with_state, S):
    with FakeTensorMode():
        q, k, v = torch.empty(3, 2, 4, S, 8, device="cuda", dtype=torch.float16)
        i, f = torch.empty(2, 2, 4, S, device="cuda")
        C, n, m = (torch.empty(2, 4, *size, device="cuda") for size in ((8, 8), (8,), ()))
        h, state = form(q, k, v, i, f, MLSTMState(C, n, m) if with_state else None)
        assert {x.device.type for x in (h, *state)} == {"cuda"} and h.dtype == torch.float16


def test_a_tensor_left_on_the_cpu_would_be_seen():
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        q, k, v = torch.empty(3, 2, 4, 9, 8, device="cuda")
        i, f = torch.empty(2, 2, 4, 9)
        mlstm_parallel(q, k, v, i, f)


MODELS = {
    **{f"version 1, {design}": {"design": design} for design in DESIGNS},
    "version 2": {"version": 2},
    "version 2, quaddirectional": {"version": 2, "design": "quaddirectional"},
    "half the stride": {"stride": 4},
    "checkpointing": {"checkpointing": True},
    "layer scale, drop path": {"layer_scale": 1e-4, "drop_path": 0.2},
    "middle token": {"pooling": "middle_cls"},
}


@pytest.mark.parametrize("name", MODELS)
def test_models_stay_on_the_device(name):
    """Autocast switches itself off without a GPU where it is a context: its state is set by hand."""
    mode = FakeTensorMode()
    model = on_a_gpu(
        VisionLSTM(
            dim=32,
            depth=4 if "alternating_quad" in name else 2,
            patch_size=8,
            image_size=32,
            num_classes=5,
            **MODELS[name],
        ),
        mode,
    )
    for dtype in (None, torch.float16, torch.bfloat16):
        torch.set_autocast_enabled("cuda", dtype is not None)
        torch.set_autocast_dtype("cuda", dtype or torch.float16)
        try:
            with mode:
                # Another grid than that of the positions, longer than a chunk; then their own, in evaluation.
                assert model.train()(torch.empty(2, 3, 96, 64, device="cuda")).device.type == "cuda"
                with torch.no_grad():
                    y = model.eval()(torch.empty(2, 3, 32, 32, device="cuda"))
                assert y.device.type == "cuda" and y.shape == (2, 5) and y.dtype == (dtype or torch.float32)
        finally:
            torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize("version", [1, 2])
def test_a_model_cut_on_the_device_stays_there(version, monkeypatch):
    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, raising=False)  # a copy is in it, too
    mode = FakeTensorMode()
    model = on_a_gpu(VisionLSTM(32, 2, version, patch_size=8, image_size=32, num_classes=5), mode)
    with mode:
        smaller = cut_heads(forgetful(model, {0: [2]}), {0: [1], 1: [0, 3]})
        assert {p.device.type for p in smaller.parameters()} == {"cuda"}
        assert smaller(torch.empty(2, 3, 32, 32, device="cuda")).device.type == "cuda"


class _Copies(TorchDispatchMode):
    """The operations that read a tensor on the processor and give one elsewhere."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        read, made = (
            {x.device.type for x in tree_leaves(part) if isinstance(x, torch.Tensor)} for part in (args, result)
        )
        if "cpu" in read and made - {"cpu"}:
            self.found.append(function)
        return result


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [32, 96])
def test_nothing_is_copied_from_the_processor(version, size):
    """A GPU would wait for each such copy, and a CUDA graph refuses it."""
    model = VisionLSTM(32, 2, version, patch_size=8, image_size=32, num_classes=5).to("meta")
    images = torch.empty(2, 3, size, size, device="meta")
    with _Copies() as copies:
        model(images).sum().backward()
    assert not copies.found


@pytest.fixture(scope="module")
def detector():
    """A yolov8n-vil on "cuda", and the mode in which it is there."""
    from ultralytics.nn.tasks import DetectionModel

    import vil_lite.yolo

    mode = FakeTensorMode()
    detector = on_a_gpu(DetectionModel(vil_lite.yolo.model_yaml("yolov8n-vil"), verbose=False), mode)
    # No buffer, and what it holds is read: ultralytics takes a list, too.
    detector.model[-1].stride = detector.model[-1].stride.tolist()
    return detector, mode


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_whole_detector_stays_on_the_device(detector, training, dtype):
    network, mode = detector
    torch.set_autocast_enabled("cuda", dtype is not None)
    torch.set_autocast_dtype("cuda", dtype or torch.float16)
    try:
        with mode, torch.set_grad_enabled(training):
            raw = network.train(training)(torch.empty(1, 3, 64, 96, device="cuda"))
    finally:
        torch.set_autocast_enabled("cuda", False)
    tensors = [x for x in tree_leaves(raw) if isinstance(x, torch.Tensor)]
    assert tensors and {x.device.type for x in tensors} == {"cuda"}
    assert {x.dtype for x in tensors} - {torch.float32} == ({dtype} if dtype else set())  # anchors are in float32
