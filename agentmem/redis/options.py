"""The options of the Redis backend; each may also stand in the URL's query."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agentmem.options import Options
from agentmem.repository import DEFAULT_MAX_VALUE_BYTES

MAX_VALUE_BYTES_LIMIT = 500 * 1024 * 1024
"""A string in Redis ends at 512 MB."""


class RedisClientOptions(Options):
    """For a host's own client, too.

    Attributes:
        max_value_bytes: the limit of R8.
        key_prefix: what every key of the store begins with; two prefixes are two stores.
        wait_replicas: a write returns when so many replicas have it, else raises OutcomeUnknown.
        wait_timeout: seconds to wait for them.
    """

    max_value_bytes: int = Field(DEFAULT_MAX_VALUE_BYTES, ge=1, le=MAX_VALUE_BYTES_LIMIT)
    key_prefix: str = Field("agentmem", pattern=r"^[A-Za-z0-9._:-]{1,64}$")
    wait_replicas: int = Field(0, ge=0, le=100)
    wait_timeout: float = Field(1.0, gt=0, le=600)


class RedisOptions(RedisClientOptions):
    """For connections of our own.

    Attributes:
        timeout: seconds to wait for a reply; a batch must be applied by then.
        connect_timeout: seconds to wait for a connection to open.
        username: of an ACL, instead of the URL's.
        sentinel_username, sentinel_password: for the Sentinels themselves, where they ask.
        ssl_ca_certs: with TLS: a file of certificates to trust; the system's without it.
        ssl_certfile: with TLS: our own certificate.
        ssl_keyfile: with TLS: its key.
        ssl_cert_reqs: with TLS: whether the server must show a certificate that we trust.
        ssl_check_hostname: with TLS: whether it must be for the name that we called.
    """

    timeout: float = Field(10.0, gt=0, le=3_600)
    connect_timeout: float = Field(5.0, gt=0, le=600)
    username: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_cert_reqs: Literal["none", "optional", "required"] = "required"
    ssl_check_hostname: bool = True

    def tls(self) -> dict[str, object]:
        """redis-py's arguments for TLS."""
        names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
