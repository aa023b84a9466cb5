"""The merge of frames with predictions that no network should make."""

from pathlib import Path

import pytest
import torch

from visagist.core.errors import RunError
from visagist.demo import TARGET
from visagist.faces.analyze import describe
from visagist.media import Reader
from visagist.merging import MergeOptions
from visagist.merging.pipeline import merge_frames


class Broken:
    """A network that predicts one value that is not finite in the second face of a batch."""

    path, coverage, size = Path("runs/broken"), "full", 64

    def __init__(self, value: float, where: str) -> None:
        self.value, self.where = value, where

    def predict(self, faces: torch.Tensor, identity: str, morph: float | None) -> tuple[torch.Tensor, torch.Tensor]:
        rgb, mask = faces.clone(), torch.ones(len(faces), 1, self.size, self.size)
        (rgb if self.where == "rgb" else mask)[1, 0, 5, 5] = self.value
        return rgb, mask


@pytest.mark.parametrize(("value", "where"), [(float("nan"), "rgb"), (float("inf"), "mask")])
def test_predictions_that_are_not_finite_are_refused(value: float, where: str) -> None:
    with Reader(TARGET, last=2) as reader:
        frames = list(reader)
    faces = [describe(frame)[0] for frame in frames]
    with pytest.raises(RunError, match=r"runs/broken: .*not finite numbers in frame 1;"):
        list(merge_frames(frames, faces.__getitem__, Broken(value, where), MergeOptions()))
