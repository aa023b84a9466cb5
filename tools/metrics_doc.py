"""Generate the list of metrics in docs/reference/metrics.md.

python tools/metrics_doc.py
"""

from collections.abc import Iterable
from pathlib import Path

from visagist.evaluation import Metric, all_metrics
from visagist.evaluation.thresholds import aim_text

DOC = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"
BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"
BETTER = {"higher": "higher is better", "lower": "lower is better", "one": "1 is ideal", "neither": "no direction"}


def described(metrics: Iterable[Metric]) -> str:
    """One Markdown paragraph per metric."""
    parts: list[str] = []
    for metric in metrics:
        unit = f", {metric.unit}" if metric.unit else ""
        aim = "" if metric.aim is None else f"; visagist's aim is {aim_text(metric)}"
        parts.append(
            f"**{metric.title}** (`{metric.name}`{unit}; {BETTER[metric.better]}{aim})  \n"
            f"{metric.formula}.  \n*From:* {metric.source}.  \n*Fooled by:* {metric.fooled_by}"
        )
    return "\n\n".join(parts)


def with_metrics(text: str) -> str:
    """The page with its list replaced."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{described(all_metrics())}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    DOC.write_text(with_metrics(DOC.read_text(encoding="utf-8")), encoding="utf-8")
