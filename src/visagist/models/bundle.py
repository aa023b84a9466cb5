"""A trained network on disk: its weights and a small record of what they are, in one safetensors file.

The record travels inside the weights' file, so that weights copied to another run still say whose faces they draw.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from visagist.core.device import Compute, choose
from visagist.core.errors import RunError
from visagist.core.settings import Settings
from visagist.core.tensors import load_hashed, load_notes, save_tensors
from visagist.core.types import Coverage, StrPath
from visagist.models import Swapper, create

WEIGHTS = "weights.safetensors"  # in a run's folder
FORMAT = 2  # of the record; weights of format 1 had none


class Origin(Settings):
    """Where the crops of one identity come from."""

    crops: int
    validation: int = 0  # of these, the last ones, never trained on
    fingerprint: str = ""  # SHA-256 of all pixels
    footage: tuple[str, ...] = ()  # SHA-256 of each footage file
    centroid: tuple[float, ...] = ()  # 128 numbers, the mean SFace embedding; empty if unknown
    is_alone: bool | None = None  # whether the footage shows this subject and nobody else; None if unknown
    people: int = 1  # more in a pretraining, whose crops are of many subjects


class Ancestor(Settings):
    """The run whose weights a run started from."""

    weights_sha256: str
    identities: tuple[str, ...]  # that it could draw
    footage: tuple[str, ...] = ()  # SHA-256 of all footage that it and its own ancestors were trained on


class NetworkRecord(Settings):
    """What a file of weights is."""

    architecture: str
    config: dict[str, Any] = Field(default_factory=dict)  # of the architecture, complete: defaults may change
    coverage: Coverage
    size: int  # px
    identities: tuple[str, ...]  # the source first, the target second
    origins: dict[str, Origin]  # by identity
    ancestor: Ancestor | None = None
    iteration: int  # of the training, at which the weights were saved


def save_network(path: Path, tensors: dict[str, Tensor], record: NetworkRecord) -> None:
    """Write weights with their record, atomically.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """
    save_tensors(path, tensors, {"record_format": FORMAT, "record": record.model_dump(mode="json", exclude_none=True)})


def read_record(path: StrPath) -> NetworkRecord:
    """The record of a run's folder or of a weights file; the tensors are not read.

    Raises:
        RunError: there are no weights, or they are damaged or of another format.
    """
    file = weights_file(path)
    return _record(load_notes(file), file)


def weights_file(path: StrPath) -> Path:
    """The weights file of a run's folder, or the file itself.

    Raises:
        RunError: there is no such run, or it has no weights yet.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.is_file():
            raise RunError(f"{path}: no such run; make one with `visagist train`")
        return path
    file = path / WEIGHTS
    if not file.is_file():
        if (path / "run.toml").is_file():
            raise RunError(f"{path}: this run has no weights yet; continue it with `visagist train`")
        raise RunError(f"{path}: not a run (no {WEIGHTS}); make one with `visagist train`")
    return file


def _record(notes: dict[str, Any], file: Path) -> NetworkRecord:
    found = notes.get("record_format", notes.get("format"))
    if found != FORMAT:
        raise RunError(
            f"{file}: weights format {found}, this visagist reads {FORMAT}; train into another run "
            "folder (in a swap: another --workspace), or use the visagist that made them"
        )
    return NetworkRecord.parse(notes.get("record", {}), file)


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, ready to predict faces.

    Attributes:
        path: the run's folder, or the weights file that was opened.
        record: what the weights are.
        weights_sha256: hash of the weights file.
        network: the network, in eval mode, on the device.
        compute: device, precision and memory format.
    """

    path: Path
    record: NetworkRecord
    weights_sha256: str
    network: Swapper
    compute: Compute

    @classmethod
    def open(cls, path: StrPath, device: str = "auto") -> "TrainedNetwork":
        """Load the weights of a run.

        Args:
            path: the run's folder, or a weights file.
            device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.

        Raises:
            RunError: there are no weights, or they are damaged, of another format, or do not fit their architecture.
            ConfigError: the device is not available, or the record is wrong.
        """
        file = weights_file(path)
        compute = choose(device)
        tensors, notes, digest = load_hashed(file)
        record = _record(notes, file)
        network = create(record.architecture, record.identities, **record.config)
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise RunError(f"{file}: does not fit model '{record.architecture}' ({error})") from error
        network = network.to(compute.device).eval()
        network.to(memory_format=compute.memory_format)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
        return cls(Path(path), record, digest, network, compute)

    @property
    def coverage(self) -> Coverage:
        """How much of the head the faces show."""
        return self.record.coverage

    @property
    def size(self) -> int:
        """Side of the faces in px."""
        return self.record.size

    @property
    def identities(self) -> tuple[str, ...]:
        """Identities that the network can draw: source, target, and others by name."""
        return self.record.identities

    @property
    def origins(self) -> dict[str, Origin]:
        """Where the crops of each identity come from."""
        return self.record.origins

    def origin(self, identity: str) -> Origin:
        """Where the crops of one identity come from.

        Raises:
            RunError: the run does not know the identity, or is a pretraining, which knows nobody in particular.
        """
        if identity not in self.origins:
            raise RunError(
                f"{self.path}: has no identity '{identity}' (available for --subject: {', '.join(self.origins)})"
            )
        origin = self.origins[identity]
        if origin.people > 1:
            raise RunError(
                f"{self.path}: a pretraining on {origin.people} people draws nobody in particular; fit it to two "
                f"people first: `visagist train SOURCE TARGET -o RUN --start {self.path}`"
            )
        return origin

    @torch.inference_mode()
    def predict(self, faces: Tensor, identity: str, morph: float | None = None) -> tuple[Tensor, Tensor]:
        """Predict faces as one identity.

        Args:
            faces: `(B, 3, R, R)` float32 RGB in [0, 1], at this network's coverage and size.
            identity: one of `identities`; an identity other than the one shown makes a swap.
            morph: how much of that identity is drawn, 0 to 1, for architectures that can morph; None: all of it.

        Returns:
            `(B, 3, R, R)` float32 RGB and `(B, 1, R, R)` float32 mask in [0, 1], on the CPU.

        Raises:
            RunError: the faces have another size.
            ConfigError: the network has no such identity.
        """
        if faces.shape[1:] != (3, self.size, self.size):
            raise RunError(f"faces of shape {tuple(faces.shape)}; this run takes (B, 3, {self.size}, {self.size})")
        faces = faces.to(self.compute.device).to(memory_format=self.compute.memory_format)
        dtype = self.compute.autocast
        with torch.autocast(self.compute.device.type, dtype=dtype, enabled=dtype is not None):
            if morph is None:
                rgb, mask = self.network(faces, identity)
            else:
                rgb, mask = self.network.decode_morphed(self.network.encode(faces), identity, morph)
        return rgb.float().cpu(), mask.float().cpu()
