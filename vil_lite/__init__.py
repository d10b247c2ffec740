"""vil_lite: Vision-LSTM, from one gate to a YOLOv8 detector.  The first line of each module names its chapter.

Of each public module here and in `yolo`, that is; README.md has a sentence for each one here, in reading order.
"""

from vil_lite.block import ViLBlock, ViLEncoder
from vil_lite.checkpoints import load_official_state_dict
from vil_lite.memory import keep_freed_memory
from vil_lite.mlstm import MLSTMState, mlstm_chunkwise, mlstm_parallel, mlstm_recurrent
from vil_lite.model import VisionLSTM, create_model
from vil_lite.trained import load

__version__ = "0.1.0"
__all__ = [
    "MLSTMState",
    "ViLBlock",
    "ViLEncoder",
    "VisionLSTM",
    "create_model",
    "keep_freed_memory",
    "load",
    "load_official_state_dict",
    "mlstm_chunkwise",
    "mlstm_parallel",
    "mlstm_recurrent",
]
