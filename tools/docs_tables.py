"""Generate the tables in docs/ that list the entries of registries.

make docs
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from visagist.core.registry import Registry
from visagist.merging.color import COLOR
from visagist.merging.masks import MASKS
from visagist.models import ARCHITECTURES, create
from visagist.training.losses import LOSSES

DOCS = Path(__file__).parents[1] / "docs"


def summary(part: object) -> str:
    """The first line of a docstring."""
    return (part.__doc__ or "").strip().split("\n", 1)[0]


def parts(registry: Registry[Any], option: str) -> str:
    """Name and summary of each entry."""
    rows = [f"| `{name}` | {summary(registry[name])} |" for name in registry.built_in]
    return "\n".join([f"| `{option}` | |", "|---|---|", *rows])


def parameters(name: str, identities: tuple[str, ...]) -> int:
    """Number of parameters of an architecture with its default config."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in create(name, identities).parameters())


def architectures(page: str) -> str:
    """Name, summary, default size and parameters of each architecture; names link to their section."""
    rows = ["| | for | default | parameters, two identities | each further one |", "|---|---|---|---|---|"]
    sections = re.findall(r"^## (.+)$", page, re.MULTILINE)
    for name in ARCHITECTURES.built_in:
        kind = ARCHITECTURES[name]
        two, three = parameters(name, ("a", "b")), parameters(name, ("a", "b", "c"))
        section = next((each for each in sections if name in each.split()), None)
        title = f"[`{name}`](#{section.replace(' ', '-')})" if section else f"`{name}`"
        size, further = kind.Config().size, three - two
        rows.append(f"| {title} | {summary(kind)} | {size} px | {two / 1e6:.2f} M | {further / 1e6:.2f} M |")
    return "\n".join(rows)


def losses(page: str) -> str:
    """Option, default weight, range and help of each loss."""
    rows = ["| | default | range | what it does, when to use it |", "|---|---|---|---|"]
    for name in LOSSES.built_in:
        loss = LOSSES[name]
        text = loss.help + (" Acts during the cool-down." if loss.finishing else "")
        rows.append(f"| `{name.replace('_', '-')}` | {loss.default:g} | 0-{loss.maximum:g} | {text} |")
    return "\n".join(rows)


TABLES: dict[tuple[str, str], Callable[[str], str]] = {  # by page and name of the block
    ("reference/networks.md", "architectures"): architectures,
    ("reference/training.md", "losses"): losses,
    ("reference/merging.md", "masks"): lambda page: parts(MASKS, "--mask"),
    ("reference/merging.md", "color"): lambda page: parts(COLOR, "--color"),
}


def with_table(page: str, block: str, table: str) -> str:
    """Replace the table between `<!-- block: begin -->` and `<!-- block: end -->`."""
    begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def main() -> None:
    """Write all tables."""
    for (name, block), table in TABLES.items():
        path = DOCS / name
        page = path.read_text(encoding="utf-8")
        path.write_text(with_table(page, block, table(page)), encoding="utf-8")


if __name__ == "__main__":
    main()
