"""A trained network on disk: weights and their record in one safetensors file.

The record is part of the file, so that weights copied elsewhere still identify the subjects they reproduce.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, FiniteFloat, field_validator
from torch import Tensor

from visagist.core.device import Compute, select_device
from visagist.core.errors import RunError
from visagist.core.settings import Settings
from visagist.core.tensors import load_hashed, load_notes, save_tensors, tensors_sha256
from visagist.core.types import Coverage, StrPath
from visagist.models import Swapper, configure, create

WEIGHTS = "weights.safetensors"  # in a run's folder
FORMAT = 3  # of the record; only the bases that ship with the package, which have a hash of their own, may have 2
BASE_FORMAT = 2
MAX_CROPS, MAX_SIZE, MAX_IDENTITIES = 10**9, 4096, 1000
RETRAINED = 1000  # iterations after which trained weights show their own subject, not that of the run they started from


class Origin(Settings):
    """Origin of the crops of one identity."""

    crops: int = Field(ge=0, le=MAX_CROPS)
    validation: int = Field(default=0, ge=0, le=MAX_CROPS)  # how many of them, the last ones, are held out of training
    fingerprint: str = ""  # SHA-256 of all pixels
    footage: tuple[str, ...] = ()  # SHA-256 of each footage file
    centroid: tuple[FiniteFloat, ...] = ()  # 128 numbers, the mean SFace embedding; empty if unknown
    is_alone: bool | None = None  # whether the footage shows this subject only; None if unknown
    people: int = Field(default=1, ge=1, le=MAX_CROPS)  # subjects; more than one in a pretraining

    @field_validator("centroid")
    @classmethod
    def _is_embedding(cls, centroid: tuple[float, ...]) -> tuple[float, ...]:
        if len(centroid) not in (0, 128):
            raise ValueError(f"{len(centroid)} numbers, not 128")
        return centroid


class Ancestor(Settings):
    """The run whose weights a run started from."""

    weights_sha256: str
    identities: tuple[str, ...]  # that the network can predict
    shown: dict[str, tuple[Origin, ...]] = Field(default_factory=dict)  # people that each identity's weights may show
    footage: tuple[str, ...] = ()  # SHA-256 of all footage that the run and its ancestors were trained on


class NetworkRecord(Settings):
    """Description of a weights file."""

    architecture: str
    config: dict[str, Any] = Field(default_factory=dict)  # all settings of the architecture, since defaults may change
    coverage: Coverage
    size: int = Field(ge=16, le=MAX_SIZE)  # px
    identities: tuple[str, ...] = Field(min_length=1, max_length=MAX_IDENTITIES)  # the source first, the target second
    origins: dict[str, Origin]  # by identity
    ancestor: Ancestor | None = None
    retrained: tuple[str, ...] = ()  # identities whose weights no longer show the people of the ancestor
    iteration: int = Field(ge=0)  # training iteration of the weights
    weights_sha256: str = ""  # of the tensors, see `tensors_sha256`

    def shown(self, identity: str) -> tuple[Origin, ...]:
        """The people that an identity's weights may show: its own first, then those of the runs it started from.

        An identity starts from the ancestor's weights of the same name, or else of its last identity. Pools of many
        people, as in a pretraining, show nobody in particular and are left out.
        """
        inherited: tuple[Origin, ...] = ()
        if self.ancestor is not None and identity not in self.retrained:
            known = self.ancestor.identities
            inherited = self.ancestor.shown.get(identity if identity in known else known[-1], ())
        return tuple(origin for origin in (self.origins[identity], *inherited) if origin.people == 1)


def save_network(path: Path, tensors: dict[str, Tensor], record: NetworkRecord) -> None:
    """Write weights and their record atomically.

    Raises:
        OutputError: the file cannot be written, or the disk is full.
    """
    record = record.model_copy(update={"weights_sha256": tensors_sha256(tensors)})
    save_tensors(path, tensors, {"record_format": FORMAT, "record": record.model_dump(mode="json", exclude_none=True)})


def check_weights(tensors: Mapping[str, Tensor], record: NetworkRecord, file: Path) -> None:
    """Check that tensors are those that a record describes, and finite.

    Raises:
        RunError: they are not.
    """
    if tensors_sha256(tensors) != record.weights_sha256:
        raise RunError(
            f"{file}: its weights are not those that its record describes; delete it and run `visagist train` again, "
            "which restores it from the checkpoint of its run"
        )
    if bad := [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]:
        raise RunError(f"{file}: weights that are not finite numbers ({bad[0]}); go back with `visagist rewind`")


def read_record(path: StrPath) -> NetworkRecord:
    """Read the record of a run's folder or a weights file, without the tensors.

    Raises:
        RunError: no weights, or they are damaged or of another format.
    """
    file = weights_file(path)
    return _record(load_notes(file), file)


def weights_file(path: StrPath) -> Path:
    """The weights file of a run's folder, or the file itself.

    Raises:
        RunError: no such run, or it has no weights yet.
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
    if found not in (FORMAT, BASE_FORMAT):
        raise RunError(
            f"{file}: weights format {found}, this visagist reads {FORMAT}; train into another run "
            "folder (for a swap: another --workspace), or use the visagist that wrote them"
        )
    return NetworkRecord.parse(notes.get("record", {}), file)


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, ready to predict faces.

    Attributes:
        path: the run's folder or weights file.
        record: description of the weights.
        weights_sha256: hash of the weights file.
        network: in eval mode, on the device.
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
            RunError: no weights, or they are damaged, of another format, or do not fit their architecture.
            ConfigError: the device is not available, or the record has unknown settings.
        """
        file = weights_file(path)
        compute = select_device(device)
        tensors, notes, digest = load_hashed(file)
        record = _record(notes, file)
        if not record.weights_sha256:
            raise RunError(
                f"{file}: has no hash of its weights, as written by earlier versions of visagist; train into another "
                "run folder (for a swap: another --workspace)"
            )
        check_weights(tensors, record, file)
        if (size := configure(record.architecture, record.config).size) != record.size:
            raise RunError(f"{file}: its record states faces of {record.size} px, its network takes {size}")
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
        """Coverage of the faces."""
        return self.record.coverage

    @property
    def size(self) -> int:
        """Side of the faces in px."""
        return self.record.size

    @property
    def identities(self) -> tuple[str, ...]:
        """Names of the identities the network can predict: source, target, others."""
        return self.record.identities

    @property
    def origins(self) -> dict[str, Origin]:
        """Origin of the crops of each identity."""
        return self.record.origins

    def origin(self, identity: str) -> Origin:
        """Origin of the crops of one identity.

        Raises:
            RunError: no such identity, or the run is a pretraining, which predicts no particular subject.
        """
        if identity not in self.origins:
            raise RunError(
                f"{self.path}: has no identity '{identity}' (available for --subject: {', '.join(self.origins)})"
            )
        origin = self.origins[identity]
        if origin.people > 1:
            raise RunError(
                f"{self.path}: a pretraining on {origin.people} people predicts no particular subject; train it on two "
                f"subjects first: `visagist train SOURCE TARGET -o RUN --start {self.path}`"
            )
        return origin

    @torch.inference_mode()
    def predict(self, faces: Tensor, identity: str, morph: float | None = None) -> tuple[Tensor, Tensor]:
        """Predict faces as one identity.

        Args:
            faces: `(B, 3, R, R)` float32 RGB in [0, 1], at this network's coverage and size.
            identity: one of `identities`; any other than the one shown gives a swap.
            morph: for architectures that morph, the share of that identity, 0 to 1; None for all of it.

        Returns:
            `(B, 3, R, R)` float32 RGB and `(B, 1, R, R)` float32 mask in [0, 1], on the CPU.

        Raises:
            RunError: faces of another size.
            ConfigError: no such identity.
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
