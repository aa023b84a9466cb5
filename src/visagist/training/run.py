"""A training on disk, and what can be done with it.

    run/
      run.toml             what is trained, from what, for how long
      weights.safetensors  EMA weights, for predictions
      events.jsonl         figures and messages of the training
      checkpoint/          from which it continues
      backups/             earlier checkpoints, the last few
      previews/            signed sheets

- `RunRecord`: what `run.toml` holds
- `Run`: the trained network, ready to draw; `save_weights`: what it draws with; `weights_iteration`: of when that is
- `check_untrained`: keeps a run that has lost its checkpoint from being begun anew
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor

from visagist.core.device import Compute, choose
from visagist.core.errors import RunError
from visagist.core.settings import Settings, read_toml
from visagist.models import Swapper, create
from visagist.training.checkpoint import backed_up, listed, load_notes, load_weights, save_tensors
from visagist.training.config import Coverage, TrainOptions
from visagist.training.data.crops import Crops

FORMAT = 1
RECORD, WEIGHTS, EVENTS = "run.toml", "weights.safetensors", "events.jsonl"
CHECKPOINT, BACKUPS, PREVIEWS = "checkpoint", "backups", "previews"


class Origin(Settings):
    """Where one person's crops come from."""

    crops: int
    fingerprint: str  # SHA-256 of their pixels
    footage: tuple[str, ...] = ()  # SHA-256 of each footage file
    centroid: tuple[float, ...] = ()  # 128 numbers, or none
    is_alone: bool | None = None  # whether the footage shows this person and nobody else; runs of before do not say
    people: int = 1  # more in a pretraining, whose crops are of many people

    @classmethod
    def of(cls, crops: Crops) -> Self:
        """The origin of these crops."""
        return cls(
            crops=len(crops.images),
            fingerprint=crops.fingerprint,
            footage=crops.footage,
            centroid=crops.centroid,
            is_alone=crops.is_alone,
            people=crops.people,
        )


class Beginning(Settings):
    """Another run's weights, with which a run began."""

    weights_sha256: str
    identities: tuple[str, ...]  # whom they could draw
    footage: tuple[str, ...] = ()  # SHA-256 of all footage that they come from, through all runs before


class Instalment(Settings):
    """A plan that a run followed for a while."""

    iterations: int  # that it had in all
    until: int  # iterations done when another plan took its place


class RunRecord(Settings):
    """What a run is, decided before its first checkpoint; only its length can change, and what that was is kept."""

    format: int = FORMAT
    iterations: int  # in all
    instalments: tuple[Instalment, ...] = ()  # before the plan that holds now, in order
    size: int
    identities: tuple[str, ...]
    options: TrainOptions
    source: Origin
    target: Origin
    others: dict[str, Origin] = Field(default_factory=dict)  # by name, where the run knows more people than two
    beginning: Beginning | None = None  # None: random weights
    plateau: int | None = None  # iteration at which held-out faces had stopped gaining, where the run was to end there

    @property
    def origins(self) -> dict[str, Origin]:
        """Where everybody's crops come from, by name, in the order of `identities`."""
        return {"source": self.source, "target": self.target, **self.others}

    @property
    def landing(self) -> Instalment | None:
        """The plan that a plateau has cut short, where one has: from there on the training only goes down."""
        last = self.instalments[-1] if self.instalments else None
        return last if last is not None and last.until == self.plateau else None

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """The record of the run in `folder`.

        Raises:
            RunError: the folder is not a run, or one of another format.
            ConfigError: the record has a wrong field.
        """
        path = folder / RECORD
        if not path.is_file():
            raise RunError(f"{folder}: not a run (no {RECORD}); make one with `visagist train`")
        values: dict[str, Any] = read_toml(path)
        if values.get("format") != FORMAT:
            raise RunError(
                f"{path}: run format {values.get('format')}, this visagist reads {FORMAT}; train again, or use the "
                "visagist that made it"
            )
        return cls.parse(values, path)

    def replanned(self, done: int, iterations: int, options: TrainOptions) -> Self:
        """The record of the same run with another length.

        Args:
            done: iterations at the latest checkpoint.
            iterations: in all, from now on.
            options: that ask for them.
        """
        instalments, planned = self.instalments, self.iterations
        if instalments and instalments[-1].until == done:  # nothing was trained by the latest plan: as if it never was
            instalments, planned = instalments[:-1], instalments[-1].iterations
        if done and planned != iterations:
            instalments = (*instalments, Instalment(iterations=planned, until=done))
        return self.model_copy(
            update={"iterations": iterations, "instalments": instalments, "options": options, "plateau": None}
        )

    def landed(self, done: int, iterations: int) -> Self:
        """The record of the same run, which after a plateau has only to go down.

        Args:
            done: iterations at the plateau, which is the latest checkpoint.
            iterations: in all, from now on.
        """
        return self.replanned(done, iterations, self.options).model_copy(update={"plateau": done})

    def rewound(self, done: int) -> Self:
        """The record of the same run, gone back to an earlier iteration; its length stays.

        The same record where nothing in it is later. A plateau that is not known yet has not cut it short.

        Args:
            done: the iteration that it has gone back to, by whose plan it then was trained.
        """
        if self.landing is not None and self.landing.until > done:
            update = {"iterations": self.landing.iterations, "instalments": self.instalments[:-1], "plateau": None}
            return self.model_copy(update=update).rewound(done)
        plans = [*self.instalments, Instalment(iterations=self.iterations, until=self.iterations)]
        kept = [plan for plan in plans if plan.until < done]
        then = plans[len(kept)]
        if done and then.iterations != self.iterations:
            kept.append(Instalment(iterations=then.iterations, until=done))
        plateau = self.plateau if self.plateau is not None and self.plateau <= done else None
        return self.model_copy(update={"instalments": tuple(kept), "plateau": plateau})


def save_weights(run: Path, average: Mapping[str, Tensor], model: str, iteration: int) -> None:
    """Write the EMA weights of an iteration, for predictions; of iteration 0 there are none, and none are left.

    Raises:
        OutputError: they cannot be written.
    """
    if iteration:
        save_tensors(run / WEIGHTS, dict(average), {"model": model, "iteration": iteration})
    else:
        (run / WEIGHTS).unlink(missing_ok=True)


def weights_iteration(run: Path) -> int:
    """The iteration of the weights that are there, 0 where there are none or they do not say (of versions of before).

    Raises:
        RunError: they are damaged.
    """
    return int(load_notes(run / WEIGHTS).get("iteration", 0)) if (run / WEIGHTS).exists() else 0


def check_untrained(run: Path) -> None:
    """Refuse to begin a run without a checkpoint that has been trained: what is left of it would be deleted.

    Raises:
        RunError: it has weights or backups.
    """
    remedies: list[str] = []
    if kept := backed_up(run / BACKUPS):
        remedies.append(f"`visagist rewind {run} {kept[-1]}` brings back a backup (there are: {listed(kept)})")
    if (run / WEIGHTS).exists():
        remedies.append(f"its weights can still be merged, and `--start {run} -o ANOTHER` trains on from them")
    if remedies:
        raise RunError(
            f"{run}: this run was trained, but its {CHECKPOINT}/ is gone, so that it cannot go on; "
            f"{'; '.join(remedies)}; to train anew, take another run folder (in a swap: another --workspace)"
        )


@dataclass(frozen=True)
class Run:
    """A trained network, ready to draw.

    Attributes:
        folder: where it lies.
        options: how it was trained.
        coverage: how much of the head its faces show.
        size: side of its faces in px.
        identities: whom it can draw: source and target, and others by their names.
        origins: where everybody's faces come from, by the same names.
        weights_sha256: hash of the weights' file.
    """

    folder: Path
    options: TrainOptions
    coverage: Coverage
    size: int
    identities: tuple[str, ...]
    origins: dict[str, Origin]
    weights_sha256: str
    network: Swapper
    compute: Compute

    @classmethod
    def open(cls, folder: Path, device: str = "auto") -> "Run":
        """The run in `folder`, its EMA weights on the device.

        Raises:
            RunError: the folder is not a run, one of another format, or one without finished weights.
            ConfigError: the device is not there, or the record has a wrong field.
        """
        record = RunRecord.read(folder)
        path = folder / WEIGHTS
        if not path.is_file():
            raise RunError(f"{folder}: this run has no weights yet; continue it with `visagist train`")
        compute = choose(device)
        network = create(record.options.model, record.identities, **record.options.settings)
        weights, digest = load_weights(path)
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"{path}: not of model '{record.options.model}' as it is here ({error})") from error
        network = network.to(compute.device).eval()
        network.to(memory_format=compute.memory_format)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
        return cls(
            folder=folder,
            options=record.options,
            coverage=record.options.coverage,
            size=record.size,
            identities=record.identities,
            origins=record.origins,
            weights_sha256=digest,
            network=network,
            compute=compute,
        )

    def origin(self, person: str) -> Origin:
        """Where a person's faces come from.

        Raises:
            RunError: the run does not know the person, or is a pretraining, which knows nobody in particular.
        """
        if person not in self.origins:
            raise RunError(f"{self.folder}: does not know '{person}'; --person can be {', '.join(self.origins)}")
        origin = self.origins[person]
        if origin.people > 1:
            raise RunError(
                f"{self.folder}: a pretraining of {origin.people} people draws nobody in particular; fit it to two "
                f"people first: `visagist train SOURCE TARGET -o RUN --start {self.folder}`"
            )
        return origin

    @torch.inference_mode()
    def predict(self, faces: Tensor, identity: str, morph: float | None = None) -> tuple[Tensor, Tensor]:
        """Draw faces as one person.

        Args:
            faces: `(B, 3, R, R)` float32 RGB in [0, 1], of this run's coverage and size.
            identity: one of `identities`; another one than the person who is seen makes a swap.
            morph: how much of that person is drawn, 0 to 1, by networks that can; None: all.

        Returns:
            `(B, 3, R, R)` float32 RGB and `(B, 1, R, R)` float32 mask in [0, 1], on the CPU.

        Raises:
            RunError: the faces have another size.
            ConfigError: nobody has that name.
        """
        if faces.shape[1:] != (3, self.size, self.size):
            raise RunError(f"faces of shape {tuple(faces.shape)}; this run draws (B, 3, {self.size}, {self.size})")
        faces = faces.to(self.compute.device).to(memory_format=self.compute.memory_format)
        dtype = self.compute.autocast
        with torch.autocast(self.compute.device.type, dtype=dtype, enabled=dtype is not None):
            if morph is None:
                rgb, mask = self.network(faces, identity)
            else:
                rgb, mask = self.network.decode_morphed(self.network.encode(faces), identity, morph)
        return rgb.float().cpu(), mask.float().cpu()
