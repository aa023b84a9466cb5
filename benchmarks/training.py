"""Speed of a training step, compared with its convolutions alone and with plain PyTorch.

    python -m benchmarks.training [--network df] [--size 128] [--batch 8] [--iterations 5] [--json] [--profile]

Everything runs in one process on random crops, in turns, so that load from outside slows all measurements equally.
Medians are reported of:

- step: a complete iteration of `visagist.training`: crops, augmentation, forward, losses, backward, optimizer
- compute: a step with a prepared batch; loader: preparing a batch
- ceiling: only the convolutions and dense layers, forward and backward (`benchmarks.research.ceiling`)
- reference: compute of the same network in float32 and NCHW; for `df`, a plain version (`benchmarks.research.plain`)
- arithmetic: as counted by PyTorch; memory: the peak before ceiling and reference are measured
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import peak_memory_gb, random_datasets
from benchmarks.research.ceiling import Bench, Call, collect, seconds
from benchmarks.research.plain import PlainDf
from benchmarks.research.waste import leavers, top_ops
from visagist.core.device import Compute, reuse_freed_memory, select_device
from visagist.models import ARCHITECTURES, configure
from visagist.training.config import TrainOptions
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer

WARM_UP = 2  # untimed iterations of each kind
FIRST = 1000  # first timed iteration, after the warm-up of the learning rate
ROWS = 30  # of a profile


@dataclass(frozen=True)
class Figures:
    """Measurements; seconds are medians."""

    network: str
    size: int
    faces: int  # per iteration, of both identities
    device: str
    threads: int
    parameters_m: float
    iterations: int
    step_s: float
    compute_s: float
    loader_s: float
    ceiling_s: float
    reference_s: float | None
    share: float  # of the ceiling: median of ceiling / compute per turn
    ratio: float | None  # to the reference: median of reference / compute per turn
    loader_share: float  # of the step
    faces_s: float
    faces_s_compute: float
    tflop: float  # per iteration
    tflop_s: float
    peak_share: float | None  # of --peak-tflops
    memory_gb: float
    calls: dict[str, tuple[int, float, float]]  # of the ceiling: count, total seconds forward and backward


def build(name: str, settings: dict[str, object], batch: int, compute: Compute) -> Trainer:
    """A trainer on random crops."""
    options = TrainOptions(model=name, settings=settings, batch=batch)
    datasets = random_datasets(round(configure(name, settings).size * options.margin), compute.device)
    return Trainer(datasets, options, Plan.of(10 * FIRST, options.schedule), compute)


def build_reference(name: str, settings: dict[str, object], batch: int, device: torch.device) -> Trainer:
    """The same network in float32 and NCHW."""
    if name == "df" and "options" not in settings:  # the plain version has none of SAEHD's options
        ARCHITECTURES.register(PlainDf, name="plain-df")
        name = "plain-df"
    return build(name, settings, batch, Compute(device, None, torch.contiguous_format))


def forward(trainer: Trainer, seen: Tensor, truth: Tensor) -> None:
    """Forward pass of a step, without losses."""
    trainer.predict_part(seen, truth, trainer.counts, FIRST, torch.Generator().manual_seed(0))


def count_tflop(step: Callable[[], object]) -> float:
    """Operations of a step; a multiply-add counts as two."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e12


def memory_gb(device: torch.device) -> float:
    """Peak memory of the device, or of this process on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_memory_gb()


def measure(
    name: str,
    settings: dict[str, object],
    batch: int,
    compute: Compute,
    iterations: int,
    *,
    reference: bool = True,
    peak_tflops: float | None = None,
) -> Figures:
    """Measure one network.

    Args:
        name: one of `ARCHITECTURES`.
        settings: its config.
        batch: faces per iteration.
        compute: device and precision.
        iterations: timed iterations of each kind.
        reference: whether to measure the reference.
        peak_tflops: peak performance of the device in TFLOP/s, None if unknown.
    """
    device = compute.device
    trainer = build(name, settings, batch, compute)
    calls = collect(lambda: forward(trainer, *trainer.batch(FIRST)))
    tflop = count_tflop(lambda: trainer.step(0))
    for number in range(WARM_UP):
        trainer.step(number)
    memory = memory_gb(device)
    bench = Bench(calls, device)
    plain = build_reference(name, settings, batch, device) if reference else None
    steps, computes, loaders, references = ([], [], [], [])  # seconds
    rounds: list[dict[Call, tuple[float, float]]] = []
    for number in range(FIRST - 1, FIRST + iterations):  # the first turn warms up
        steps.append(seconds(partial(trainer.step, number), device))
        loaders.append(seconds(partial(trainer.batch, number), device))
        computes.append(compute_seconds(trainer, number, device))
        rounds.append(bench.round())
        if plain is not None:
            references.append(compute_seconds(plain, number, device))
    for measured in (steps, computes, loaders, references, rounds):
        del measured[:1]
    ceilings = [sum(map(sum, turn.values())) for turn in rounds]
    step_s, compute_s, loader_s = median(steps), median(computes), median(loaders)
    faces = sum(trainer.counts)
    return Figures(
        network=name,
        size=trainer.network.size,
        faces=faces,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(compute),
        threads=torch.get_num_threads(),
        parameters_m=sum(weight.numel() for weight in trainer.weights.values()) / 1e6,
        iterations=iterations,
        step_s=step_s,
        compute_s=compute_s,
        loader_s=loader_s,
        ceiling_s=median(ceilings),
        reference_s=median(references) if references else None,
        share=median(c / s for c, s in zip(ceilings, computes, strict=True)),
        ratio=median(r / s for r, s in zip(references, computes, strict=True)) if references else None,
        loader_share=loader_s / step_s,
        faces_s=faces / step_s,
        faces_s_compute=faces / compute_s,
        tflop=tflop,
        tflop_s=tflop / compute_s,
        peak_share=tflop / compute_s / peak_tflops if peak_tflops else None,
        memory_gb=memory,
        calls={
            str(call) + ("" if call.tensors[0] and call.tensors[0].needs_grad else ", no gradient to its input"): (
                count,
                median(turn[call][0] for turn in rounds),
                median(turn[call][1] for turn in rounds),
            )
            for call, count in calls.items()
        },
    )


def table(figures: Figures) -> str:
    """Format the figures for reading."""
    f = figures
    lines = [
        f"{f.network} {f.size} px, {f.faces} faces per iteration, {f.parameters_m:.2f} M parameters; {f.device}, "
        f"{f.threads} threads; medians of {f.iterations}",
        "",
        f"step, complete        {f.step_s * 1e3:9.1f} ms  {f.faces_s:8.2f} faces/s",
        f"compute alone         {f.compute_s * 1e3:9.1f} ms  {f.faces_s_compute:8.2f} faces/s",
        f"loader                {f.loader_s * 1e3:9.1f} ms  {f.loader_share:8.1%} of the step",
        f"ceiling               {f.ceiling_s * 1e3:9.1f} ms  {f.share:8.1%} of it reached by compute",
        f"arithmetic            {f.tflop:9.3f} TFLOP {f.tflop_s:6.3f} TFLOP/s"
        + (f", {f.peak_share:.1%} of the peak" if f.peak_share else ""),
        f"peak memory           {f.memory_gb:9.2f} GB",
    ]
    if f.reference_s and f.ratio:
        lines.append(f"reference, float32    {f.reference_s * 1e3:9.1f} ms  {f.ratio:8.2f} times as long as compute")
    lines += ["", "calls of the ceiling: count, total ms forward, total ms backward"]
    slowest = sorted(f.calls.items(), key=lambda item: -item[1][1] - item[1][2])
    lines += [f"{count:4} {ahead * 1e3:9.1f} {back * 1e3:9.1f}  {call}" for call, (count, ahead, back) in slowest]
    return "\n".join(lines)


def compute_seconds(trainer: Trainer, number: int, device: torch.device) -> float:
    """Seconds of a step with a prepared batch."""
    draw, made = trainer.batch, trainer.batch(number)
    trainer.batch = lambda iteration: made
    try:
        return seconds(partial(trainer.step, number), device)
    finally:
        trainer.batch = draw


def profile(trainer: Trainer) -> str:
    """Profile a step, and list operations that leave channels_last."""
    batch = trainer.batch(FIRST)
    trainer.batch = lambda _: batch
    for number in range(WARM_UP):
        trainer.step(FIRST + number)
    lines = [top_ops(trainer.step, 2, ROWS), ""]
    if trainer.compute.memory_format != torch.channels_last:
        return "\n".join([*lines, "this device does not use channels_last"])
    found = leavers(lambda: trainer.step(FIRST)).most_common()
    lines.append("operations that leave channels_last, in one step:")
    return "\n".join(lines + ([f"{count:6} {what}" for what, count in found] or ["  none"]))


@reuse_freed_memory()  # as in a training; the reference benefits, too
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare a training step with the time of its convolutions alone.")
    parser.add_argument("--network", default="df", choices=tuple(ARCHITECTURES))
    parser.add_argument("--size", type=int, help="px, by default the network's")
    parser.add_argument("--batch", type=int, default=8, help="faces per iteration")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--iterations", type=int, default=5, help="timed iterations of each kind")
    parser.add_argument("--no-reference", action="store_true", help="skip the float32 reference")
    parser.add_argument("--peak-tflops", type=float, help="peak of the device, to print the share reached")
    parser.add_argument("--profile", action="store_true", help="print a profile instead")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    compute = select_device(arguments.device)
    settings: dict[str, object] = {} if arguments.size is None else {"size": arguments.size}
    if arguments.profile:
        trainer = build(arguments.network, settings, arguments.batch, compute)
        print(profile(trainer))
        return
    figures = measure(
        arguments.network,
        settings,
        arguments.batch,
        compute,
        arguments.iterations,
        reference=not arguments.no_reference,
        peak_tflops=arguments.peak_tflops,
    )
    print(json.dumps(dataclasses.asdict(figures)) if arguments.json else table(figures))


if __name__ == "__main__":
    main()
