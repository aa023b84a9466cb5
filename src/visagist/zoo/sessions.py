"""Sessions of the embedded ONNX models, which users can replace.

Replacements are listed in `config.toml` in the configuration folder (`visagist doctor` prints its path):

    [weights]
    sface = "/models/my_embedder.onnx"

A replacement must have the inputs and outputs given for that name in `docs/reference/face-models.md`.
"""

import functools
import os
from pathlib import Path
from typing import NamedTuple

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state  # pyright: ignore[reportAttributeAccessIssue]

from visagist.core.errors import ConfigError, WeightsError
from visagist.core.files import config_dir, sha256
from visagist.core.settings import read_toml

KNOWN = {"weights", "signer"}  # entries of config.toml
FOLDER = Path(__file__).parent / "weights"
# onnxruntime's exceptions have no common base class.
LOAD_ERRORS = tuple(
    kind for kind in vars(onnxruntime_pybind11_state).values() if isinstance(kind, type) and issubclass(kind, Exception)
)


class FaceModel(NamedTuple):
    """An embedded ONNX file, with its SHA-256 and the name of its only input."""

    file: str
    sha256: str
    input: str


MODELS: dict[str, FaceModel] = {
    "yunet": FaceModel(
        "yunet_2023mar.onnx", "0e4bde5eb1dffc342e305e208afa23a682cf656ae4bf9064a950dd7fcf9b1910", "input"
    ),
    "facemesh": FaceModel(
        "facemesh478.onnx", "1a94934de8f5ded2970ceff1f9c678cc2fe483b5f7dda8b2ae5b87f9459d56ea", "input_12"
    ),
    "blendshapes": FaceModel(
        "blendshapes52.onnx",
        "5671681bc1c21a020abc6a3ba05658d9065b09d495181b89d9b368263851f0a7",
        "serving_default_input_points:0",
    ),
    "sface": FaceModel(
        "sface_2021dec.onnx", "05b3e814f54be18aa41450e3fa68111efd6646c075fd7b233a5f7a2c9acf2921", "data"
    ),
    "dlib": FaceModel(
        "dlib_resnet128.onnx", "9d0c4e15c73d0df8f7240993b18f66668dbcd8abb69f72e5ba2815cd85ce65c6", "input"
    ),
    "person": FaceModel(
        "selfie_person.onnx", "4c89fdbafb62b87e4e006ce5d3e27b53b2102cb3ac1b6ccd3698206978d56e9f", "input_1:0"
    ),
    "segmenter": FaceModel(
        "segmenter.onnx", "8fbff808291cf30c7ea961e0ac0a4f7a982d69fad8f1bbd154df79b47e3cd785", "image"
    ),
    "safeguard": FaceModel(
        "nsfw_mobilenet_v2.onnx", "c807912ede70d17ffac65fd957a52f7549e7e85ad29482171b3d0aebb72a42ec", "image"
    ),
}


def replacements() -> dict[str, Path]:
    """Paths of the user's replacement models by name, from `config.toml`.

    Raises:
        WeightsError: an unknown model is named, or a value is not a path.
        ConfigError: the file is not TOML, or has unknown entries.
    """
    config = config_dir() / "config.toml"
    if not config.exists():
        return {}
    values = read_toml(config)
    if unknown := sorted(values.keys() - KNOWN):
        raise ConfigError(f"{config}: unknown entry {', '.join(unknown)} (available: {', '.join(sorted(KNOWN))})")
    paths = values.get("weights", {})
    if not isinstance(paths, dict):
        raise WeightsError(f"{config}: weights must be a table, [weights], with the path of each model")
    if unknown := sorted(set(paths) - set(MODELS)):
        raise WeightsError(f"{config}: [weights] has no model {', '.join(unknown)} (available: {', '.join(MODELS)})")
    for name, path in paths.items():
        if not isinstance(path, str):
            raise WeightsError(f"{config}: [weights] {name} needs the path of an ONNX file, not {path}")
    return {name: Path(path) for name, path in paths.items()}


def locate(name: str, *, packaged: bool = False) -> Path:
    """Path of the model in use for `name`, or of the embedded one; embedded files are verified by hash.

    Raises:
        WeightsError: the file is missing, or an embedded file was altered.
    """
    replacement = None if packaged else replacements().get(name)
    path = replacement or FOLDER / MODELS[name].file
    if not path.is_file():
        remedy = "correct its path in config.toml" if replacement else "reinstall visagist"
        raise WeightsError(f"{path}: face model '{name}' is missing; {remedy}")
    if replacement is None and sha256(path) != MODELS[name].sha256:
        raise WeightsError(f"{path}: face model '{name}' is not the one shipped with visagist; reinstall visagist")
    return path


def model_sha256(name: str) -> str:
    """Hexadecimal SHA-256 of the model in use for `name`, to record with its results.

    Raises:
        WeightsError: the replacement file is missing.
    """
    if name not in replacements():
        return MODELS[name].sha256  # verified by `locate`
    path = locate(name)
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


def replaced_models() -> tuple[str, ...]:
    """Name and SHA-256 of each model that the user has replaced.

    Raises:
        WeightsError: a replacement file is missing.
    """
    return tuple(f"{name} {model_sha256(name)}" for name in sorted(replacements()))


@functools.cache
def _sha256_of(path: Path, _size: int, _mtime_ns: int) -> str:
    return sha256(path)  # cached until size or time changes


def session(name: str, threads: int = 1, *, packaged: bool = False) -> onnxruntime.InferenceSession:
    """The CPU session of a face model, created once per process and thread count.

    Args:
        name: of the model.
        threads: number of threads.
        packaged: use the embedded model even if the user has replaced it; consent and safeguard rely on it.

    Raises:
        WeightsError: the file is missing, altered, unreadable, or has other inputs.
    """
    return cached_session(name, threads, packaged)


@functools.cache
def cached_session(name: str, threads: int, packaged: bool) -> onnxruntime.InferenceSession:
    """`session`, with all arguments, so that every way to call it shares one session; tests clear the cache."""
    if packaged and name not in replacements():
        return cached_session(name, threads, False)
    path = locate(name, packaged=packaged)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(threads, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        loaded = onnxruntime.InferenceSession(path.as_posix(), options, providers=["CPUExecutionProvider"])
    except (*LOAD_ERRORS, RuntimeError) as error:
        raise WeightsError(f"{path}: cannot be loaded as face model '{name}' ({str(error).splitlines()[0]})") from error
    inputs = [entry.name for entry in loaded.get_inputs()]
    if inputs != [MODELS[name].input]:
        raise WeightsError(f"{path}: face model '{name}' must take {MODELS[name].input}, not {', '.join(inputs)}")
    return loaded
