"""What a Redis server says of itself (R28): durability, memory, clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from agentmem.redis.connections import Link
    from agentmem.redis.servers import Servers

_FIELDS: Final = {
    "used_memory": "used_memory_bytes",
    "maxmemory": "maxmemory_bytes",
    "maxmemory_policy": "maxmemory_policy",
    "connected_clients": "connected_clients",
    "keyspace_hits": "keyspace_hits",
    "keyspace_misses": "keyspace_misses",
    "evicted_keys": "evicted_keys",
    "aof_enabled": "appendonly",
    "aof_last_write_status": "aof_last_write_status",
    "rdb_last_save_time": "rdb_last_save_time",
    "rdb_last_bgsave_status": "rdb_last_bgsave_status",
    "connected_slaves": "connected_replicas",
    "role": "role",
    "uptime_in_seconds": "uptime_seconds",
}
_SETTINGS: Final = ("appendfsync", "save", "min-replicas-to-write")


def server(servers: Servers) -> tuple[str, dict[str, Any]]:
    """The version, and the account of one server or, of a cluster, of each of its nodes that holds data."""
    accounts = [connections.read(_account) for connections in servers.each()]
    version = next((str(account["version"]) for account in accounts), "")
    if len(accounts) == 1:
        account = accounts[0]
    else:
        summed = ("used_memory_bytes", "keyspace_hits", "keyspace_misses", "evicted_keys", "connected_clients")
        account = {name: sum(int(each.get(name, 0)) for each in accounts) for name in summed}
        account["nodes"] = accounts
    account["hit_rate"] = _hit_rate(account)
    account["warnings"] = sorted({warning for each in accounts for warning in warnings(each)})
    return version, account


def warnings(account: dict[str, Any]) -> list[str]:
    """What whoever trusts this server with memories should know."""
    found = []
    policy = account.get("maxmemory_policy")
    if policy not in (None, "noeviction"):
        found.append(f"maxmemory-policy is {policy}: at its limit the server forgets entries; set noeviction")
    if not account.get("appendonly") and account.get("save") == "":
        found.append("appendonly is off, and so are snapshots: a restart of the server loses everything")
    elif not account.get("appendonly"):
        found.append("appendonly is off: a crash loses what was written since the last snapshot")
    elif account.get("appendfsync") == "no":
        found.append("appendfsync is no: a crash of the machine loses up to half a minute of writes")
    if account.get("aof_last_write_status") not in (None, "ok"):
        found.append("the last write to the append-only file failed")
    return found


def _account(link: Link) -> dict[str, Any]:
    text = link.ask(b"INFO").decode()
    said = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    account: dict[str, Any] = {name: _number(said[field]) for field, name in _FIELDS.items() if field in said}
    account["appendonly"] = bool(account.get("appendonly"))
    account["version"] = said.get("valkey_version") or said.get("redis_version", "")
    for setting in _SETTINGS:
        value = _setting(link, setting)
        if value is not None:
            account[setting.replace("-", "_")] = _number(value)
    return account


def _setting(link: Link, name: str) -> str | None:
    try:
        answer = link.ask(b"CONFIG", b"GET", name)
    except ResponseError:  # providers and ACLs forbid the command
        return None
    pairs = answer if isinstance(answer, list) else [part for pair in answer.items() for part in pair]
    return pairs[1].decode() if len(pairs) > 1 else None


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _hit_rate(account: dict[str, Any]) -> float | None:
    hits, misses = (int(account.get(name, 0)) for name in ("keyspace_hits", "keyspace_misses"))
    return round(hits / (hits + misses), 4) if hits + misses else None
