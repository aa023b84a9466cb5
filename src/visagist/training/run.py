"""A training on disk, and what can be done with it.

    run/
      run.toml             what is trained, from what, for how long
      weights.safetensors  EMA weights, for predictions
      events.jsonl         figures and messages of the training
      checkpoint/          from which it continues
      backups/             earlier checkpoints, the last few
      previews/            signed sheets

- `RunRecord`: what `run.toml` holds
- `save_weights`: what it draws with; `weights_iteration`: of when that is
- `check_untrained`: keeps a run that has lost its checkpoint from being begun anew
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field
from torch import Tensor

from visagist.core.errors import RunError
from visagist.core.settings import Settings, read_toml
from visagist.models.bundle import WEIGHTS, Ancestor, NetworkRecord, Origin, read_record, save_network
from visagist.training.checkpoint import backed_up, listed
from visagist.training.config import TrainOptions
from visagist.training.data.crops import Crops, held_out_count

FORMAT = 1
RECORD, EVENTS = "run.toml", "events.jsonl"
CHECKPOINT, BACKUPS, PREVIEWS = "checkpoint", "backups", "previews"


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
    beginning: Ancestor | None = None  # None: random weights
    plateau: int | None = None  # iteration at which held-out faces had stopped gaining, where the run was to end there

    @property
    def origins(self) -> dict[str, Origin]:
        """Where everybody's crops come from, by name, in the order of `identities`."""
        return {"source": self.source, "target": self.target, **self.others}

    def network(self, iteration: int) -> NetworkRecord:
        """The record of the weights of an iteration."""
        return NetworkRecord(
            architecture=self.options.model,
            config=self.options.settings,
            coverage=self.options.coverage,
            size=self.size,
            identities=self.identities,
            origins=self.origins,
            ancestor=self.beginning,
            iteration=iteration,
        )

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


def origin_of(crops: Crops, part: float) -> Origin:
    """The origin of crops of which `part` is held out for validation."""
    return Origin(
        crops=len(crops.images),
        validation=held_out_count(len(crops.images), part) if crops.held_out is None else crops.held_out,
        fingerprint=crops.fingerprint,
        footage=crops.footage,
        centroid=crops.centroid,
        is_alone=crops.is_alone,
        people=crops.people,
    )


def save_weights(run: Path, average: Mapping[str, Tensor], record: RunRecord, iteration: int) -> None:
    """Write the EMA weights of an iteration, for predictions; at iteration 0 there are none, and none are left.

    Raises:
        OutputError: they cannot be written.
    """
    if iteration:
        save_network(run / WEIGHTS, dict(average), record.network(iteration))
    else:
        (run / WEIGHTS).unlink(missing_ok=True)


def weights_iteration(run: Path) -> int:
    """The iteration of the weights of a run, 0 if there are none.

    Raises:
        RunError: they are damaged, or of another format.
    """
    return read_record(run).iteration if (run / WEIGHTS).exists() else 0


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
