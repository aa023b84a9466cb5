"""How a trainer runs its network: as it is, compiled, or with blocks that are computed again in the backward pass.

- `Passes`: encoding and decoding, compiled where that is asked for
- `check_compiler`: refuses where torch.compile would fail
- `recompute`: gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost")
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from visagist.core.device import Compute
from visagist.core.errors import ConfigError
from visagist.models import Swapper

RECOMPILES = 128  # people, times sizes of parts of a batch: torch gives up at 8


class Passes:
    """Encoding and decoding of a network in training.

    Args:
        network: to run.
        compiled: let torch.compile fuse each pass. Predictions stay as they are: every size of batch would be compiled.
        compute: where it runs.

    Raises:
        ConfigError: nothing can be compiled there.
    """

    def __init__(self, network: Swapper, compiled: bool, compute: Compute) -> None:
        self.network, self.compiled = network, compiled
        self.made: dict[tuple[str, str], Callable[..., Any]] = {}
        if compiled:
            check_compiler(compute)

    def encode(self, faces: Tensor) -> Tensor:
        """`Swapper.encode`."""
        return self.run("encode", "", self.network.encode, faces)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """`Swapper.decode`."""
        return self.run("decode", identity, lambda latent: self.network.decode(latent, identity), latent)

    def decode_in_training(self, latent: Tensor, identity: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`Swapper.decode_in_training`; of networks that draw at random there, the rest of the pass is compiled."""
        if not self.compiled or type(self.network).decode_in_training is not Swapper.decode_in_training:
            return self.network.decode_in_training(latent, identity, generator)
        return self.decode(latent, identity)

    def decode_for_swap(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        """`Swapper.decode_for_swap`."""
        return self.run("swap", identity, lambda latent: self.network.decode_for_swap(latent, identity), latent)

    def run(self, name: str, identity: str, function: Callable[..., Any], tensor: Tensor) -> Any:
        """Call a function of one tensor, compiled once for each person: one that serves all would be made for shapes of
        any size, and be slower."""
        if not self.compiled:
            return function(tensor)
        key = (name, identity)
        if key not in self.made:
            self.made[key] = torch.compile(function, dynamic=False)
        with torch._dynamo.config.patch(recompile_limit=RECOMPILES):  # pyright: ignore[reportPrivateUsage] - its only name
            return self.made[key](tensor)


def check_compiler(compute: Compute) -> None:
    """Refuse to compile where that would fail, minutes later and in many lines.

    Raises:
        ConfigError: there is no compiler for the device; the message says what is missing.
    """
    kind = compute.device.type
    if kind == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise ConfigError("--compile needs Triton on a GPU (pip install triton), or leave --compile away")
        return
    if kind == "mps":
        raise ConfigError("--compile is for CPUs and CUDA GPUs; leave it away on this device")
    # What torch looks for.
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    name = os.environ.get("CXX", usual)
    if shutil.which(name) is None:
        raise ConfigError(
            f"--compile needs a C++ compiler ({name} is not here); install one, name it in CXX, or leave --compile away"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise ConfigError(
            f"--compile needs Python's headers ({header} is not here; Debian: python3-dev), or leave --compile away"
        )


def recompute(network: Swapper) -> None:
    """Let blocks of a network keep nothing but their input for the backward pass, and compute the rest again there.

    Which ones the network says (`Swapper.segments`). What it draws at random it draws between them, so that nothing is
    drawn twice.

    Raises:
        ConfigError: it says none.
    """
    if not network.segments:
        raise ConfigError(f"{type(network).__name__} has no blocks to compute again; leave --checkpointing away")
    for block in network.modules():
        if isinstance(block, network.segments):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
