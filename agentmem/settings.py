"""Settings from the environment, for what the caller of `connect` left out. Read at that call, never at import."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from agentmem.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

PREFIX: Final = "AGENTMEM_"


class Settings(NamedTuple):
    """What the environment says; None for what it does not.

    Attributes:
        url: AGENTMEM_URL, where the store is.
        partition: AGENTMEM_PARTITION.
        namespace: AGENTMEM_NAMESPACE.
        sweep_every: AGENTMEM_SWEEP_EVERY, seconds.
    """

    url: str | None = None
    partition: str | None = None
    namespace: str | None = None
    sweep_every: float | None = None


def load() -> Settings:
    """Read the environment.

    Raises:
        ConfigurationError: a variable has a value that it cannot have; names the variable.
    """
    # pydantic-settings takes a fifth of a second to import: nobody waits for it without a reason.
    if not any(name.upper().startswith(PREFIX) for name in os.environ):
        return Settings()
    from pydantic import ValidationError

    try:
        return Settings(**_reader()().model_dump())
    except ValidationError as error:
        # Not pydantic's own text, which quotes the value.
        first = error.errors(include_input=False, include_url=False)[0]
        raise ConfigurationError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}") from None


@cache
def _reader() -> type[BaseSettings]:
    from pydantic_settings import BaseSettings, SettingsConfigDict

    class Environment(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore")

        url: str | None = None
        partition: str | None = None
        namespace: str | None = None
        sweep_every: float | None = None

    return Environment
