"""Embedded ONNX models: files, hashes, sessions, and the user's replacements.

`onnx_module` loads such a file as a torch module.
"""

from visagist.zoo.sessions import FOLDER, MODELS, FaceModel, locate, model_sha256, replacements, session

__all__ = ["FOLDER", "MODELS", "FaceModel", "locate", "model_sha256", "replacements", "session"]
