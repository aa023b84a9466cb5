"""What this machine offers, and what to do about what is missing.

- `examine`: device and precision, memory, disk, codecs, face models, signing key, each a `Finding`
"""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import onnxruntime
import torch
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from visagist.core.device import cpu_has_bf16, select_device
from visagist.core.errors import VisagistError
from visagist.core.files import config_dir
from visagist.jobs.gpu_advice import gpu_problem, look_for_gpus
from visagist.provenance import Signer
from visagist.zoo import sessions as weights

DECODERS = ("h264", "hevc", "prores", "mpeg1video", "mpeg2video", "vp9", "av1", "ffv1", "png", "mjpeg", "tiff", "gif")
ENCODERS = {
    "libx264": "H.264 output",
    "libx265": "H.265 and 10-bit output",
    "prores_ks": "ProRes output",
    "png": "PNG sequences",
    "aac": "audio that cannot be copied",
}
DISK_GB = 5


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    name: str
    is_well: bool
    text: str
    remedy: str = ""

    def as_text(self) -> str:
        """One line, with the remedy where one is needed."""
        line = f"{'ok ' if self.is_well else 'NO '} {self.name:<12} {self.text}"
        return f"{line}\n    {'':<12} -> {self.remedy}" if self.remedy else line

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def examine(device: str = "auto") -> list[Finding]:
    """Look at everything that visagist uses on this machine; makes the signing key if there is none.

    Args:
        device: as in `core.device.select_device`.
    """
    return [*_compute(device), *_room(), *_codecs(), *_models(), *_keys()]


def _compute(device: str) -> Iterator[Finding]:
    yield Finding("python", True, f"{platform.python_version()}, torch {torch.__version__}, PyAV {av.__version__}")
    try:
        compute = select_device(device)
    except VisagistError as error:
        yield Finding("device", False, str(error), "use --device auto")
        return
    found = look_for_gpus()
    remedy, problem = "", gpu_problem(found)
    if compute.device.type == "cpu" and problem is None and not cpu_has_bf16():
        remedy = "no bf16 units (AMX, AVX512-BF16): training takes several times as long; a GPU helps"
    name = torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else platform.machine()
    cores = f", {torch.get_num_threads()} threads" if compute.device.type == "cpu" else ""
    yield Finding("device", True, f"{compute} {name}{cores}".strip(), remedy)
    if problem is not None:
        yield Finding("gpu", False, *problem)
    elif found.vendors or found.usable:
        yield Finding("gpu", True, f"PyTorch can use {', '.join(sorted(found.usable))}")
    else:
        yield Finding("gpu", True, "none found; everything works on the CPU")
    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    version = f"{onnxruntime.__version__} with {', '.join(providers)}"
    yield Finding("onnxruntime", True, f"{version}; face detection and landmarks run on the CPU")


def _room() -> Iterator[Finding]:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        enough = gigabytes >= 4
        yield Finding("memory", enough, f"{gigabytes:.0f} GB", "" if enough else "training needs 4 GB or more")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    enough = free >= DISK_GB
    yield Finding("disk", enough, f"{free:.0f} GB free here", "" if enough else f"free {DISK_GB} GB or work elsewhere")


def _codecs() -> Iterator[Finding]:
    missing = [name for name in DECODERS if not _has(name, "r")]
    yield Finding(
        "decoders",
        not missing,
        ", ".join(name for name in DECODERS if name not in missing),
        f"this PyAV lacks {', '.join(missing)}; install the wheel from PyPI: pip install --force-reinstall av"
        if missing
        else "",
    )
    for name, use in ENCODERS.items():
        there = _has(name, "w")
        remedy = "" if there else "install the PyAV wheel from PyPI: pip install --force-reinstall av"
        yield Finding("encoder", there, f"{name}: {use}", remedy)


def _has(codec: str, mode: str) -> bool:
    try:
        Codec(codec, mode)  # pyright: ignore[reportArgumentType] - the stubs want a literal
    except UnknownCodecError:
        return False
    return True


def _models() -> Iterator[Finding]:
    for name in weights.MODELS:
        try:
            path = weights.locate(name)
            weights.session(name)
        except VisagistError as error:
            yield Finding("model", False, f"{name}: {error}", "see docs/reference/face-models.md")
        else:
            own = "" if path.is_relative_to(weights.FOLDER) else f", yours: {path}"
            yield Finding("model", True, f"{name}{own}")


def _keys() -> Iterator[Finding]:
    yield Finding("config", True, f"{config_dir()}")
    try:
        yield Finding("signer", True, f"fingerprint {Signer.default().fingerprint}")
    except VisagistError as error:
        yield Finding("signer", False, str(error), "see docs/how-to/consent.md")
