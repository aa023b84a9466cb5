"""Presets: a whole training from one word, the size of the faces and the memory of the device.

- `with_preset`: the options of a call, what they leave open filled by their preset
- `resolve`: the same from plain values; `taken`: from a run that is there
- `networks`, `ladder`: what is tried until it fits: sizes of faces, then batches

A preset fills only what nobody gave, so that any option may be given beside it. What it fills depends on the machine,
and is decided once, when a run begins: from then on the run's record has it. The reasons for the numbers:

- A batch is the largest that takes four fifths of the memory; on a CPU no larger than 8, where steps count for more.
  Faces come first: smaller ones are tried where not even the smallest batch fits. After that blocks are computed again
  (gradient checkpointing), which costs a third more time; and then comes a batch in parts as well.
- `df` with unit norm, and with doubled sides from 192 px on (256 px for the arithmetic of 128), because likeness to the
  source is what a swap is for; `liae` follows the target's light better, and costs more memory. On a CPU it is
  `visage`: a thirteenth of the arithmetic, and a learning rate twenty times as high.
- A long training may meet every face of a small faceset a thousand times: warps of three finenesses keep it from
  learning them by heart, and as two people are hardly ever lit alike, half of the faces are seen in the other's colours
  (`rct`, the cheapest; the other half keeps the encoder sharp for how they really are).
- `late` decay: the rate stays full until the last fifth, so that a training may be given more time without having
  slowed down for nothing. In the same fifth `final` has its discriminator.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from visagist.core.device import Compute, choose
from visagist.core.errors import ConfigError
from visagist.core.events import Events, Note
from visagist.models import ARCHITECTURES, configure, create
from visagist.training.budget import STEP
from visagist.training.config import PresetName, TrainOptions, plain
from visagist.training.memory import GIB, Memory, available, bound, estimate_memory
from visagist.training.run import RECORD, RunRecord
from visagist.training.trainer import faces_each

DRAFT, THRIFTY, BEST = "quick", "visage", "df"  # networks of drafts, of CPUs, and where there is arithmetic to spend
SIZES = {  # px, tried in order, with CUDA and without; other networks keep their own
    "quick": ((192, 128), (192, 128)),
    # 192 px take 1.7 times the arithmetic of 256, whose lowest level has 8 px a side, not 12
    "visage": ((256, 128), (256, 128)),
    "df": ((256, 192), (192,)),
    "liae": ((256, 192), (192,)),
}
LETTERED = ("df", "liae")  # have the options u and d
DRAFT_SIZE = 128  # px
DOUBLED_FROM = 192  # px, from which option d of df and liae pays

BATCHES = (32, 16, 8, 4)
USUAL_BATCH = 8  # the most on a CPU, and where nobody knows the memory
ROOM = 0.8  # part of the memory there is that a training may take

LONG = {
    "augmentation": {"warp_grids": (3, 5, 9), "color_transfer": "rct", "color_transfer_chance": 0.5},
    "schedule": {"decay": "late"},
}
WAYS: dict[PresetName, dict[str, Any]] = {
    "draft": {"backups": 0},  # ten minutes are made again sooner than looked for
    "standard": {**LONG, "backups": 3},
    "final": {**LONG, "losses": {"focal_frequency": 50.0, "gan": 0.1, "finish": 0.2}, "backups": 4},
}
# On CUDA and elsewhere: an afternoon or a night, a night or a weekend. With `--until plateau` they are the latest end.
MINUTES: dict[PresetName, tuple[float, float]] = {"draft": (10, 10), "standard": (240, 480), "final": (720, 2880)}
# Seconds between checkpoints, previews and backups: a checkpoint of `df` is 1.3 GB, and backups stay.
EVERY: dict[PresetName, tuple[float, float, float]] = {
    "draft": (60, 60, 600),
    "standard": (300, 600, 3600),
    "final": (300, 1200, 3 * 3600),
}
# Operations a second of a training, by device and whether it computes in bf16. Rough: only EVERY hangs on it.
SPEEDS = {
    ("cpu", False): 1e11,
    ("cpu", True): 4e11,
    ("mps", False): 1.5e12,
    ("cuda", False): 4e12,
    ("cuda", True): 2e13,
}

# What a preset may fill but for the length, which a run that is there keeps of itself; parts of nested settings by name
FILLED: dict[str, tuple[str, ...]] = {
    "model": (),
    "settings": (),
    "batch": (),
    "optimizer": ("accumulate",),
    "checkpointing": (),
    "losses": ("focal_frequency", "gan", "finish"),
    "augmentation": ("warp_grids", "color_transfer", "color_transfer_chance"),
    "schedule": ("decay",),
    "save_every": (),
    "preview_every": (),
    "backup_every": (),
    "backups": (),
}

Values = dict[str, Any]


def with_preset(
    options: TrainOptions, run: Path, people: Sequence[str], crops: Callable[[], int], events: Events
) -> TrainOptions:
    """The options, filled by their preset: the same ones where they name none.

    Args:
        options: of which only those count as given that are in `model_fields_set`, nested ones too.
        run: folder of the run; what one that is there was begun with is taken over, whatever memory there is now.
        people: everybody's names.
        crops: counts those of all people together; called only for a new run.
        events: told in one line what the preset filled.

    Raises:
        ConfigError: nothing that the preset may take fits into the memory, or an option is wrong.
        RunError: the run, or the one to start from, is of another format, or is none.
    """
    if options.preset is None:
        return options
    if (run / RECORD).exists():
        known = RunRecord.read(run).options
        filled, since = taken(options, known), ", as this run was begun"
        if known.preset != options.preset:
            return filled  # which is refused, as another training
    else:
        compute = choose(options.device)
        events(Note(STEP, f"preset {options.preset}: looking for what fits into the memory"))
        start = None if options.start is None else RunRecord.read(options.start).options
        filled, since = resolve(options, people, crops(), compute, available(compute.device), start), ""
    said = " ".join(difference(given(options), given(filled)))
    events(Note(STEP, f"preset {options.preset}{since}: {said or 'all was given'}"))
    return filled


def resolve(
    options: TrainOptions,
    people: Sequence[str],
    crops: int,
    compute: Compute,
    room: int | None,
    start: TrainOptions | None,
) -> TrainOptions:
    """The options of a new run, filled by their preset.

    Args:
        options: with a preset.
        people: everybody's names.
        crops: how many of all people together.
        compute: device and precision; the device need not be here.
        room: bytes of memory that there are; None: nobody knows.
        start: options of the run whose weights this one begins with, and whose network it must have.

    Raises:
        ConfigError: nothing that the preset may take fits, or an option is wrong.
    """
    own, preset, kind = given(options), options.preset or "standard", compute.device.type
    low = dict(WAYS[preset])
    if options.until == "plateau":
        low["schedule"] = {"decay": "late"}  # a draft's, too: a rate that falls all the time makes plateaus
    if options.iterations is None and options.minutes is None:
        low["minutes"] = MINUTES[preset][0 if kind == "cuda" else 1]
    if start is not None and own.get("model", start.model) == start.model:
        nets: list[Values] = [{"model": start.model, "settings": start.settings}]
    else:
        nets = networks(options, kind)
    whole, parts = ladder(options, len(people), kind)
    tries = [merged(low, net, step, own) for net in nets for step in whole]
    is_open = "checkpointing" not in own and len(tries) + len(parts) > 1  # one that is given whole, nobody checks
    last = merged(low, nets[-1])
    if is_open and ARCHITECTURES[last["model"]].segments:
        last["checkpointing"] = True
        tries += [merged(last, step, own) for step in whole]
    tries += [merged(last, step, own) for step in parts]
    candidates = [TrainOptions.parse(values, f"preset {preset}") for values in tries]
    chosen = candidates[0] if len(candidates) == 1 else fitting(candidates, people, crops, compute, room)
    each = seconds_an_iteration(chosen, people, compute)
    every = dict(zip(("save_every", "preview_every", "backup_every"), EVERY[preset], strict=True))
    habits = {name: rounded(seconds / each) for name, seconds in every.items()}
    return TrainOptions.parse(merged(habits, given(chosen)), f"preset {preset}")


def fitting(
    candidates: Sequence[TrainOptions], people: Sequence[str], crops: int, compute: Compute, room: int | None
) -> TrainOptions:
    """The first of some options whose training fits into four fifths of the room.

    Raises:
        ConfigError: none does.
    """
    if room is None:
        return next((options for options in candidates if options.batch <= USUAL_BATCH), candidates[0])
    memories: list[Memory] = []
    for options in candidates:
        if bound(options, people, compute, crops) < ROOM * room:
            return options
        memories.append(estimate_memory(options, people, compute, crops))
        if memories[-1].peak <= ROOM * room:
            return options
    least, memory = candidates[-1], memories[-1]
    size, parts = configure(least.model, least.settings).size, least.optimizer.accumulate
    again = "--checkpointing " if least.checkpointing else ""
    raise ConfigError(
        f"preset {least.preset}: {least.model} of {size} px with {again}--batch {least.batch} --optimizer.accumulate "
        f"{parts} takes {memory.as_text()}, more than {ROOM:.0%} of the {room / GIB:.1f} GiB that are there; take "
        f"--preset draft, --model {DRAFT} or a smaller --settings.size, or give --batch and --optimizer.accumulate "
        "for a training that nobody checks"
    )


def taken(options: TrainOptions, known: TrainOptions) -> TrainOptions:
    """The options, filled from those that a run was begun with; the length excepted, which it keeps of itself.

    Raises:
        ConfigError: an option is wrong.
    """
    dump = known.model_dump()
    low: Values = {
        name: {part: dump[name][part] for part in parts} if parts else dump[name] for name, parts in FILLED.items()
    }
    own = given(options)
    if own.get("model", known.model) != known.model:
        del low["settings"]  # they are another network's
    return TrainOptions.parse(merged(low, own), f"preset {options.preset}")


def networks(options: TrainOptions, kind: str) -> list[Values]:
    """The networks that a preset may take, best first: `model` and those of its `settings` that nobody gave.

    Args:
        options: with a preset.
        kind: of device.

    Raises:
        ConfigError: the model or a setting that was given is wrong.

    >>> networks(TrainOptions(preset="final"), "cpu")
    [{'model': 'visage', 'settings': {'size': 256}}, {'model': 'visage', 'settings': {'size': 128}}]
    """
    usual = DRAFT if options.preset == "draft" else THRIFTY if kind == "cpu" else BEST
    model = options.model if "model" in options.model_fields_set else usual
    config = configure(model, options.settings)
    if model not in SIZES:
        return [{"model": model}]
    if "size" in options.settings:
        sizes = [config.size]
    elif options.preset == "draft":
        sizes = [DRAFT_SIZE]
    else:
        sizes = SIZES[model][kind != "cuda"]
    letters = [("ud" if size >= DOUBLED_FROM and size % 32 == 0 else "u") for size in sizes]
    return [
        {"model": model, "settings": {"size": size, "options": letter} if model in LETTERED else {"size": size}}
        for size, letter in zip(sizes, letters, strict=True)
    ]


def ladder(options: TrainOptions, people: int, kind: str) -> tuple[list[Values], list[Values]]:
    """Batches, largest first: those to be computed as a whole, and those in parts, where none of them fits.

    Args:
        options: whose batch and parts stay, if they were given.
        people: how many.
        kind: of device.

    >>> whole, parts = ladder(TrainOptions(preset="draft"), 2, "cpu")
    >>> [step["batch"] for step in whole], [step["optimizer"]["accumulate"] for step in parts]
    ([8, 4], [3])
    """
    least = 2 * people  # faces: else somebody is hardly seen
    batches = [n for n in BATCHES if n >= least and (n <= USUAL_BATCH or kind != "cpu")] or [least]
    cut, is_given = max(USUAL_BATCH, batches[-1]), "batch" in options.model_fields_set
    if is_given:
        batches, cut = [options.batch], options.batch
    if "accumulate" in options.optimizer.model_fields_set:
        parts = options.optimizer.accumulate
        return [{"batch": n} for n in batches if min(faces_each(n, people)) >= parts] or [{"batch": batches[0]}], []
    most = min(faces_each(cut, people))  # parts: each needs a face of everybody
    cuts = {2, 4, most} if is_given else {most}  # of 8 faces in two parts one has five: no less than a batch of 4
    return (
        [{"batch": n, "optimizer": {"accumulate": 1}} for n in batches],
        [{"batch": cut, "optimizer": {"accumulate": n}} for n in sorted(cuts) if 1 < n <= most],
    )


def seconds_an_iteration(options: TrainOptions, people: Sequence[str], compute: Compute) -> float:
    """Roughly how long an iteration takes: its arithmetic, backwards twice as much, by the device."""
    with torch.device("meta"):
        network = create(options.model, tuple(people), **options.settings)
        faces = torch.zeros(1, 3, network.size, network.size)
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(faces, people[0])
    speed = SPEEDS[compute.device.type, compute.autocast is not None]
    return 3 * options.batch * counter.get_total_flops() / speed


def rounded(number: float) -> int:
    """The 1, 2 or 5 with zeros that is next below, at least 10: iterations are easier to follow so.

    >>> [rounded(number) for number in (3.0, 10, 739.9, 12_345)]
    [10, 10, 500, 10000]
    """
    steps = [lead * 10**zeros for zeros in range(1, 7) for lead in (1, 2, 5)]
    return max([10, *(step for step in steps if step <= number)])


def given(options: TrainOptions) -> Values:
    """What was given of some options, nested settings too, as plain values."""
    return options.model_dump(exclude_unset=True)


def merged(*layers: Mapping[str, Any]) -> Values:
    """Values laid over each other, the last on top; tables are merged, not replaced.

    >>> merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 4}})
    {'a': 1, 'b': {'c': 2, 'd': 4}}
    """
    found: Values = {}
    for layer in layers:
        for name, value in layer.items():
            below: Any = found.get(name)
            found[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return found


def difference(before: Values, after: Values, prefix: str = "--") -> list[str]:
    """What `after` has that `before` has not, as one would write it on the command line.

    >>> difference({"batch": 8}, {"batch": 8, "losses": {"gan": 0.1}, "save_every": 50})
    ['--losses.gan 0.1', '--save-every 50']
    >>> difference({}, {"checkpointing": True})
    ['--checkpointing']
    >>> difference({}, {"settings": {"encoder": (96, 192, 320)}})
    ['--settings.encoder 96,192,320']
    >>> difference({}, {"augmentation": {"warp_grids": (3, 9)}})
    ['--augmentation.warp-grids 3', '--augmentation.warp-grids 9']
    """
    said: list[str] = []
    for name, value in after.items():
        if isinstance(value, dict):
            said += difference(before.get(name, {}), value, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        elif name in before:
            continue
        elif isinstance(value, bool):
            said.append(f"{prefix}{'' if value else 'no-'}{name.replace('_', '-')}")
        else:
            several = isinstance(value, tuple) and prefix != "--settings."  # those of a network are one text
            said += [f"{prefix}{name.replace('_', '-')} {plain(part)}" for part in (value if several else [value])]  # pyright: ignore[reportUnknownVariableType]
    return said
