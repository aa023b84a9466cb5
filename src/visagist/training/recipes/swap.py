"""The swap: one network for a source, a target and perhaps more identities."""

from collections.abc import Mapping
from typing import TypeVar

from visagist.core.errors import ConfigError
from visagist.training.warm_start import SHARED

T = TypeVar("T")


def by_identity(source: T, target: T, others: Mapping[str, T]) -> dict[str, T]:
    """Anything of each identity by its name, the source first, the target second.

    Raises:
        ConfigError: one of the others has a name that is not an identifier, or is taken.

    >>> list(by_identity(1, 2, {"anna": 3}))
    ['source', 'target', 'anna']
    """
    for name in others:
        if name in ("source", "target", SHARED) or not name.isidentifier():
            raise ConfigError(
                f"'{name}' cannot name an identity; use letters, digits and _, and not source, target or {SHARED}"
            )
    return {"source": source, "target": target, **others}
