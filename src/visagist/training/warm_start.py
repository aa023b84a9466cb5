"""Warm starts from the weights of another run, and frozen weights.

They adapt a pretrained network to two subjects, continue a finished run with other options, or add an identity.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from visagist.core.errors import ConfigError, RunError, WeightsError
from visagist.core.tensors import load_hashed
from visagist.models import Swapper, configure, create
from visagist.models.bundle import RETRAINED, Ancestor, NetworkRecord, check_weights, read_record, weights_file
from visagist.training.config import TrainOptions, plain

BASE_FOLDER = Path(__file__).parent / "base"
BASE = "base"  # the only identity of a base
BASES = {  # MODEL-SIZE-COVERAGE and SHA-256 of the pretrained weights in the package
    "visage-128-full": "84d5c81b46fdf18c253f7d08b174c51833276f8a211cfa4244b5327397140d6f",
}
SHARED = "shared"  # in `freeze`: all weights that belong to no identity


@dataclass(frozen=True)
class Start:
    """Initial weights by name, and the run they come from."""

    ancestor: Ancestor
    weights: Mapping[str, Tensor]

    @property
    def is_base(self) -> bool:
        """Whether these are the pretrained weights that ship with the package."""
        return self.ancestor.identities == (BASE,)


def starting_weights(options: TrainOptions) -> Path | None:
    """The run or base that a new run starts from, None for random weights.

    A base fits one architecture with default settings, one size and one coverage.
    """
    if options.start == "none":
        return None
    if isinstance(options.start, Path):
        return options.start
    config = configure(options.model, options.settings)
    name = f"{options.model}-{config.size}-{options.coverage}"
    base = BASE_FOLDER / f"{name}.safetensors"
    return base if name in BASES and configure(options.model, read_record(base).config) == config else None


def start_from(source: Path, options: TrainOptions) -> Start:
    """Load the weights of a run or base, after `check_start`.

    Raises:
        WeightsError: the base's file was altered.
    """
    record = check_start(source, options)
    earlier = record.ancestor.footage if record.ancestor else ()
    footage = {name: None for origin in record.origins.values() for name in origin.footage}
    weights, _, digest = load_hashed(weights_file(source))
    if record.identities == (BASE,):
        if digest != BASES.get(source.stem):
            raise WeightsError(f"{source}: not the base that ships with visagist; reinstall visagist")
    else:
        check_weights(weights, record, weights_file(source))
    made = Ancestor(
        weights_sha256=digest,
        identities=record.identities,
        shown={name: record.shown(name) for name in record.identities},
        footage=tuple(dict.fromkeys([*earlier, *footage])),
    )
    return Start(made, weights)


def check_start(folder: Path, options: TrainOptions) -> NetworkRecord:
    """Check that a run with these options can start from a run's weights; returns their record.

    Raises:
        RunError: the folder is not a run, has no weights yet, or has another model, other settings or coverage.
    """
    record = read_record(folder)
    if record.architecture != options.model:
        raise RunError(
            f"{folder}: was trained with model '{record.architecture}', and '{options.model}' cannot start from it; "
            f"pass --model {record.architecture}"
        )
    before, now = vars(configure(options.model, record.config)), vars(configure(options.model, options.settings))
    changed = [
        f"--settings.{name} {plain(before[name])}, here {plain(now[name])}" for name in now if now[name] != before[name]
    ]
    if changed:
        raise RunError(f"{folder}: was trained with {', '.join(changed)}; to start from it, use the same settings")
    if record.coverage != options.coverage:
        raise RunError(
            f"{folder}: was trained with coverage '{record.coverage}', here '{options.coverage}'; to start from it, "
            f"pass --coverage {record.coverage}"
        )
    return record


def describe_start(start: Start | None, options: TrainOptions, identities: tuple[str, ...]) -> str:
    """Describe the initial weights of a new run."""
    size = configure(options.model, options.settings).size
    if start is None:
        reason = f"; there is no base for {options.model} with these settings, {size} px, {options.coverage}"
        return f"starts from random weights{reason if options.start == BASE else ''}"
    if start.is_base:
        return f"starts from the base for {options.model}, {size} px, {options.coverage}"
    last = start.ancestor.identities[-1]
    new = [f"{name} starts as a copy of {last}" for name in identities if name not in start.ancestor.identities]
    return "; ".join([f"starts from the weights of {options.start}", *new])


def take_over(network: Swapper, weights: Mapping[str, Tensor], identities: tuple[str, ...]) -> tuple[str, ...]:
    """Load another network's weights by identity; new identities start as copies of its last one.

    `weights` and `identities` are those of a network with the same settings. Returns the new identities.

    Raises:
        RunError: the weights do not fit.

    >>> from visagist.models import create
    >>> two, three = create("quick", ("source", "target")), create("quick", ("source", "target", "anna"))
    >>> take_over(three, two.state_dict(), two.identities)
    ('anna',)
    """
    taken: dict[str, Tensor] = {}
    for name in network.state_dict():
        owner = network.owner_of(name)
        taken[name] = weights.get(name if owner is None else _counterpart(name, owner, identities), Tensor())
    try:
        network.load_state_dict(taken)
    except RuntimeError as error:
        raise RunError(f"the initial weights do not fit this network ({error})") from error
    return tuple(name for name in network.identities if name not in identities)


def retrained(options: TrainOptions, identities: tuple[str, ...], iteration: int) -> tuple[str, ...]:
    """Identities whose weights no longer show the people of the run that this one started from.

    They are those with weights of their own that are all trained, or, in architectures where an identity has none,
    those of a network whose shared weights are all trained; for `RETRAINED` iterations in either case.
    """
    if iteration < RETRAINED:
        return ()
    with torch.device("meta"):
        network = create(options.model, identities, **options.settings)
    kept = frozen(network, options.freeze) if options.freeze else frozenset[str]()
    owners = {name: network.owner_of(name) for name, _ in network.named_parameters()}

    def is_trained(identity: str) -> bool:
        own = {name for name, owner in owners.items() if owner == identity}
        return kept.isdisjoint(own or (name for name, owner in owners.items() if owner is None))

    return tuple(name for name in identities if is_trained(name))


def _counterpart(weight: str, owner: str, identities: tuple[str, ...]) -> str:
    """The name of a per-identity weight in a network of these identities."""
    part, _, rest = weight.split(".", 2)
    return f"{part}.{identities.index(owner) if owner in identities else len(identities) - 1}.{rest}"


def frozen(network: Swapper, parts: Collection[str]) -> frozenset[str]:
    """Names of the weights to freeze.

    `parts` are modules such as `encoder`, identities such as `source` for their weights, or `shared` for all others.

    Raises:
        ConfigError: the network has no such part, or nothing would be left to train.

    >>> from visagist.models import create
    >>> network = create("quick", ("source", "target"))
    >>> kept = frozen(network, ["shared", "source"])
    >>> {name.split(".")[1] for name in dict(network.named_parameters()) if name not in kept}
    {'1'}
    """
    known = [SHARED, *(name for name, _ in network.named_children()), *network.identities]
    for part in parts:
        if part not in known:
            raise ConfigError(f"this network has no part '{part}' to freeze (it has: {', '.join(known)})")
    weights = [name for name, _ in network.named_parameters()]
    owners = {name: network.owner_of(name) or SHARED for name in weights}
    kept = frozenset(name for name in weights if name.partition(".")[0] in parts or owners[name] in parts)
    if len(kept) == len(weights):
        raise ConfigError(f"freezing {', '.join(parts)} leaves nothing to train")
    return kept
