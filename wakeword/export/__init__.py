"""The same model for elsewhere: ONNX (`onnx_graph`), LiteRT (`litert_writer`), ExecuTorch (`executorch_writer`), C for
small devices (`c_writer`), and browsers (`web_writer`)."""

from wakeword.export.layers import folded
from wakeword.export.onnx_graph import compare, export_onnx, model_proto

__all__ = ["compare", "export_onnx", "folded", "model_proto"]
