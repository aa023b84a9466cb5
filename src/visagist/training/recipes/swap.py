"""The swap: one network for a source, a target and optional other identities."""

from collections.abc import Mapping
from typing import TypeVar

from visagist.core.errors import ConfigError
from visagist.training.warm_start import SHARED

T = TypeVar("T")


def by_identity(source: T, target: T, others: Mapping[str, T]) -> dict[str, T]:
    """Values by the name of their identity, the source first, the target second.

    Raises:
        ConfigError: another identity's name is reserved or not an identifier.

    >>> list(by_identity(1, 2, {"anna": 3}))
    ['source', 'target', 'anna']
    """
    for name in others:
        if name in ("source", "target", SHARED) or not name.isidentifier():
            raise ConfigError(
                f"'{name}' cannot name an identity; use letters, digits and _, and not source, target or {SHARED}"
            )
    return {"source": source, "target": target, **others}
