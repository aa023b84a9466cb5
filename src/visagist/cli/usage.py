"""Usage errors as one line, from the errors of cyclopts and pydantic."""

import re

from cyclopts import CycloptsError, MissingArgumentError, ValidationError
from cyclopts.argument import Argument
from pydantic import ValidationError as SettingsError

from visagist.core.settings import first_error


def usage_message(error: CycloptsError) -> str:
    """One line that names the option (or the file and the field), the value, and what is allowed."""
    error.verbose = False
    argument, cause = error.argument, error.__cause__
    if argument and isinstance(error, MissingArgumentError) and not argument.has_tokens and error.keyword is None:
        missing = re.sub(
            r"^Command .* parameter \S+ .*? (argument|required)\.", f"{argument.name} is required.", str(error)
        )
        return " ".join(filter(None, (missing, argument.parameter.help)))
    if argument and isinstance(cause, SettingsError):
        field, reason = first_error(cause)
    elif argument and argument.children and isinstance(error, ValidationError):
        field, reason = "", error.exception_message
    else:
        return str(error)
    head, _, rest = reason.partition(": ")  # validators of several fields start with the name of the invalid one
    inner = f"{field}.{head}".lstrip(".")
    if _given(argument, inner):
        field, reason = inner, rest
    sources = {token.source for each in _given(argument, field) for token in each.tokens}
    file = sources.pop() if len(sources) == 1 and "cli" not in sources else None
    return ": ".join(filter(None, (file, field if file else _option(field), reason)))


def _given(argument: Argument, field: str) -> list[Argument]:
    """The arguments of a field and of its nested fields."""
    option = _option(field)
    every = (argument, *argument.children_recursive)
    return [each for each in every if not field or each.name == option or each.name.startswith(f"{option}.")]


def _option(field: str) -> str:
    return "--" + re.sub(r"\.\d+", "", field).replace("_", "-") if field else ""
