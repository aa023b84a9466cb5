"""Metrics, one family per file: a `Metric` or a tuple of them, registered here or by an entry point of the same kind.

Report, JSON, docs and tests list what `all_metrics` returns.
"""

from visagist.core.errors import ConfigError
from visagist.core.registry import Registry
from visagist.evaluation.metric import Metric

METRICS: Registry[Metric | tuple[Metric, ...]] = Registry("metric", "visagist.evaluation.metrics", "visagist.metrics")


def all_metrics() -> tuple[Metric, ...]:
    """All metrics sorted by `order`, including those of other distributions.

    Raises:
        ConfigError: two metrics have the same name, or an entry point is not a metric.
    """
    found: dict[str, Metric] = {}
    for part_name, part in METRICS.items():
        for metric in part if isinstance(part, tuple) else (part,):
            if not isinstance(metric, Metric):  # pyright: ignore[reportUnnecessaryIsInstance] - from another distribution
                raise ConfigError(f"metric '{part_name}' must be a Metric or a tuple of them, not {metric!r}")
            if metric.name in found:
                raise ConfigError(f"two metrics are called '{metric.name}', one of them in '{part_name}'")
            found[metric.name] = metric
    return tuple(sorted(found.values(), key=lambda metric: metric.order))
