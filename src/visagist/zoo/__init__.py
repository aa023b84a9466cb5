"""Embedded ONNX models: files, hashes, sessions, torch modules and the user's replacements."""

from visagist.zoo.sessions import FOLDER, MODELS, FaceModel, locate, model_sha256, replacements, session

__all__ = ["FOLDER", "MODELS", "FaceModel", "locate", "model_sha256", "replacements", "session"]
