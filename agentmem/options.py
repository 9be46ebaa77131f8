"""The options that all backends share; an unknown one is refused by name (R31)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentmem.errors import ConfigurationError
from agentmem.repository import DEFAULT_MAX_VALUE_BYTES

OptionsT = TypeVar("OptionsT", bound="Options")


class Options(BaseModel):
    """What every backend takes.

    Attributes:
        create: make what a store needs if it is missing. `auto`: where that is cheap to make and to remove, so not on
            PostgreSQL; `always`: everywhere; `never`: nowhere.
        max_value_bytes: the limit of R8.
        pool_size: connections that may be open at once; more threads wait.
        pool_timeout: seconds that a thread waits for a connection.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    create: Literal["auto", "always", "never"] = "auto"
    max_value_bytes: int = Field(DEFAULT_MAX_VALUE_BYTES, ge=1)
    pool_size: int = Field(10, ge=1, le=1_000)
    pool_timeout: float = Field(30.0, gt=0, le=3_600)


def names_of(model: type[Options]) -> set[str]:
    """What the options are called by who gives them."""
    return {field.alias or name for name, field in model.model_fields.items()}


def read_options(model: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Validate options.

    Raises:
        ConfigurationError: names the option.
    """
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(sorted(names_of(model)))
        if first["type"] == "extra_forbidden":
            raise ConfigurationError(f"unknown option {name!r}; this backend takes {known}") from None
        raise ConfigurationError(f"option {name!r}: {first['msg']}") from None
