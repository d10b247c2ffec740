"""vil_lite: Vision-LSTM, from one gate to a YOLOv8 detector.  Each module follows a chapter of the book."""

from vil_lite import zoo  # noqa: F401  (names for timm, once somebody imports it)
from vil_lite.block import ViLBlock, ViLEncoder
from vil_lite.checkpoints import load_official_state_dict
from vil_lite.mlstm import MLSTMState, mlstm_chunkwise, mlstm_parallel, mlstm_recurrent
from vil_lite.model import VisionLSTM, create_model

__version__ = "0.1.0"
__all__ = [
    "MLSTMState",
    "ViLBlock",
    "ViLEncoder",
    "VisionLSTM",
    "create_model",
    "load_official_state_dict",
    "mlstm_chunkwise",
    "mlstm_parallel",
    "mlstm_recurrent",
]
