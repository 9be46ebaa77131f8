"""Copies, exports and imports: exact, streaming, and honest about what is not carried over."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import agentmem
from agentmem import CorruptEntry, InvalidArgument, Memory, NamespaceError, ValueTooLarge, transfer
from agentmem.loading import PIECE_CHARACTERS, PIECE_ENTRIES
from agentmem.testing.harnesses import SQLiteFileHarness
from agentmem.testing.support import SHORT, eventually, exactly
from tests.unit.dict_repository import DictRepository

EXACT: dict[str, Any] = {
    "order": {"z": 1, "a": 2, "": 3},
    "numbers": [-0.0, 1e22, 2**70, -(2**63), 0.1, 10**3000],
    "text": '\x00\u2028\x85 \r\n\t"\\ 😀 e\u0301 é',
    'é/"quoted"\n': "an odd key",
    "null": None,
    "deep": [[[[]]]],
}


@pytest.fixture
def source() -> Iterator[Memory]:
    with agentmem.connect("sqlite://") as memory:
        yield memory


@pytest.fixture
def target() -> Iterator[Memory]:
    with agentmem.connect("sqlite://") as memory:
        yield memory


def everything(memory: Memory) -> dict[str, tuple[str, dict[str, Any]]]:
    return {entry.key: (exactly(entry.value), entry.metadata) for entry in memory.items()}


def exported(memory: Memory, prefix: str = "") -> str:
    file = io.StringIO()
    transfer.export_lines(memory, file, prefix)
    return file.getvalue()


def left(memory: Memory, key: str) -> float | None:
    """The TTL of a fresh entry in seconds."""
    entry = memory.entry(key)
    assert entry is not None
    return None if entry.expires_at is None else (entry.expires_at - entry.updated_at).total_seconds()


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_copy_is_exact(source: Memory, target: Memory) -> None:
    source.put_many(EXACT)
    source.put("deepest", nested(128), metadata={"by": "é\n", "n": 2**70})
    assert transfer.copy(source, target) == len(EXACT) + 1
    assert everything(target) == everything(source)


def test_lines_are_exact(source: Memory, target: Memory) -> None:
    source.put_many(EXACT)
    source.put("deepest", nested(128), metadata={"by": "é\n", "n": 2**70})
    text = exported(source)
    assert text.count("\n") == len(EXACT) + 1
    assert transfer.import_lines(io.StringIO(text), target) == len(EXACT) + 1
    assert everything(target) == everything(source)
    assert exported(target) == text


def test_lines_go_through_a_file_as_text_and_as_bytes(source: Memory, target: Memory, tmp_path: Path) -> None:
    source.put_many(EXACT)
    path = tmp_path / "all.jsonl"
    with path.open("w", encoding="utf-8") as file:
        transfer.export_lines(source, file)
    for mode, encoding in (("r", "utf-8"), ("rb", None)):
        target.clear()
        with path.open(mode, encoding=encoding) as file:
            assert transfer.import_lines(file, target) == len(EXACT)
        assert everything(target) == everything(source)


def test_a_line_says_what_the_manual_says(source: Memory) -> None:
    source.put("plans/42", {"score": 0.9, "by": "é"}, metadata={"by": "a-1"})
    source.put("plans/43", None, ttl=60)
    first, second = map(json.loads, exported(source).splitlines())
    assert first == {"key": "plans/42", "value": {"score": 0.9, "by": "é"}, "metadata": {"by": "a-1"}}
    assert 50 < second.pop("ttl") <= 60
    assert second == {"key": "plans/43", "value": None}


def test_the_time_that_is_left_goes_along(source: Memory, target: Memory) -> None:
    source.put("hour", 1, ttl=3600)
    source.put("ever", 1)
    target.partition("default", default_ttl=5)
    assert transfer.copy(source, target) == 2
    assert left(target, "hour") == pytest.approx(3600, abs=10)
    assert left(target, "ever") is None, "the partition's default is for those who leave the TTL out"


def test_a_ttl_in_a_file_begins_at_the_import(target: Memory) -> None:
    transfer.import_lines(['{"key": "a", "value": 1, "ttl": 0.05}', '{"key": "b", "value": 1, "ttl": 100}'], target)
    eventually(lambda: not target.exists("a"))
    assert left(target, "b") == pytest.approx(100)


def test_the_sources_clock_says_what_is_left() -> None:
    class Ahead(DictRepository):
        """A server whose clock is an hour ahead of ours."""

        def _begin(self, method: str) -> int:
            return super()._begin(method) + 3_600_000_000

    source, target = Memory(Ahead()), Memory(DictRepository())
    source.put("key", 1, ttl=60)
    assert transfer.copy(source, target) == 1
    assert left(target, "key") == pytest.approx(60, abs=10)


def test_what_expires_on_the_way_is_neither_copied_nor_counted(target: Memory) -> None:
    class Late(DictRepository):
        """The walk sees an entry alive that is dead when the batch is full."""

        def server_time(self) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=30)

    source = Memory(Late())
    source.put("short", 1, ttl=20)
    source.put("long", 1, ttl=40)
    assert transfer.copy(source, target) == 1
    assert list(target.keys()) == ["long"]
    assert json.loads(exported(source))["key"] == "long"


def test_expired_entries_stay_behind(source: Memory, target: Memory) -> None:
    source.put("dead", 1, ttl=SHORT)
    source.put("living", 1)
    eventually(lambda: not source.exists("dead"))
    assert transfer.copy(source, target) == 1
    assert "dead" not in exported(source)


def test_what_the_store_made_is_not_carried_over(source: Memory, target: Memory) -> None:
    for number in range(3):
        source.put("key", number)
    before = source.entry("key")
    transfer.copy(source, target)
    after = target.entry("key")
    assert before is not None
    assert after is not None
    assert (after.value, after.key) == (2, "key")
    assert after.version != before.version
    assert after.created_at > before.created_at


def test_what_stands_in_the_way_is_replaced_and_others_stay(source: Memory, target: Memory) -> None:
    source.put("a", "new", metadata={"n": 1})
    target.put("a", "old", ttl=60, metadata={"o": 1})
    target.put("b", "other")
    for _ in range(2):  # a second time changes nothing
        assert transfer.copy(source, target) == 1
        assert everything(target) == {"a": ("'new'", {"n": 1}), "b": ("'other'", {})}
    assert left(target, "a") is None


def test_a_prefix_is_literal_and_scopes_move_keys(source: Memory, target: Memory) -> None:
    source.put_many({"a_b/1": 1, "a_b/2": 2, "axb/3": 3, "a_b": 4})
    assert transfer.copy(source, target, "a_b/") == 2
    assert list(target.keys()) == ["a_b/1", "a_b/2"]
    assert transfer.copy(source.scoped("a_b/"), target.scoped("moved/")) == 2
    assert target.get_many(["moved/1", "moved/2"]) == {"moved/1": 1, "moved/2": 2}
    assert exported(source.scoped("a_b/")) == '{"key":"1","value":1}\n{"key":"2","value":2}\n'


def test_values_of_a_codec_travel_as_they_are_stored(source: Memory) -> None:
    moment = datetime(2024, 2, 29, tzinfo=UTC)
    codec = agentmem.TypeCodec()
    with (
        agentmem.connect("sqlite://", codec=codec) as wrote,
        agentmem.connect("sqlite://", codec=codec) as reads,
        agentmem.connect("sqlite://") as plain,
    ):
        wrote.put("at", {"moment": moment})
        transfer.copy(wrote, plain)
        transfer.import_lines(exported(plain).splitlines(), reads)
        assert reads.get("at") == {"moment": moment}
        transfer.copy(wrote, reads)
        assert reads.get("at") == {"moment": moment}


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_batches_lose_and_double_nothing(count: int) -> None:
    source, repository = Memory(DictRepository()), DictRepository()
    target = Memory(repository)
    source.put_many({f"k{number:04}": number for number in range(count)})
    assert transfer.copy(source, target) == count
    assert repository.calls["apply"] == -(-count // PIECE_ENTRIES)
    assert everything(target) == everything(source)
    lines = exported(source).splitlines()
    assert transfer.import_lines(lines, target) == count == len(lines)


def test_progress_is_told_after_each_batch(source: Memory, target: Memory) -> None:
    source.put_many({f"k{number:04}": number for number in range(2500)})
    counts: list[int] = []
    transfer.copy(source, target, on_progress=counts.append)
    transfer.export_lines(source, io.StringIO(), on_progress=counts.append)
    transfer.import_lines(exported(source).splitlines(), target, on_progress=counts.append)
    assert counts == [1000, 2000, 2500] * 3


def test_large_values_make_small_batches() -> None:
    source, repository = Memory(DictRepository()), DictRepository()
    source.put_many({f"k{number}": "x" * 600_000 for number in range(6)})
    assert transfer.copy(source, Memory(repository)) == 6
    assert repository.calls["apply"] == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "truncated"),
        ('{"key": "a"}', "missing required field `value`"),
        ('{"value": 1}', "missing required field `key`"),
        ('{"key": 1, "value": 1}', "Expected `str`"),
        ('{"key": "a", "value": NaN}', "invalid"),
        ('{"key": "a", "value": 1, "ttl": "1h"}', "Expected `int | float"),
        ('{"key": "a", "value": 1, "version": 7}', "unknown field `version`"),
        ('{"key": "a", "value": 1, "metadata": []}', "Expected `object"),
        ('{"key": "a", "value": "\\udc00 alone"}', "surrogate"),
        ("[1, 2]", "Expected `object`"),
    ],
)
def test_a_line_that_is_no_entry_is_named(target: Memory, line: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match="line 3 is no entry") as caught:
        transfer.import_lines(['{"key": "first", "value": 1}', "", line], target)
    assert reason in str(caught.value)
    assert list(target.keys()) == []


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('{"key": "other/1", "value": 1}', NamespaceError),
        ('{"key": "aqe/large", "value": "' + 200 * "x" + '"}', ValueTooLarge),
        ('{"key": "", "value": 1}', agentmem.InvalidKey),
        ('{"key": "aqe/t", "value": 1, "ttl": 0}', agentmem.InvalidTTL),
        ('{"key": "aqe/t", "value": ' + 129 * "[" + 129 * "]" + "}", agentmem.InvalidValue),
    ],
)
def test_what_the_memory_does_not_take_is_named_by_its_key(line: str, error: type[Exception]) -> None:
    with agentmem.connect("sqlite://", namespace="aqe/", max_value_bytes=200) as memory:
        with pytest.raises(error) as caught:
            transfer.import_lines(['{"key": "aqe/first", "value": 1}', line], memory)
        notes = [f"This was the entry {json.loads(line)['key']!r}.", "Entries stored before it: 0."]
        assert caught.value.__notes__ == notes
        assert memory.count() == 0


@pytest.mark.parametrize("name", ["plans.jsonl", b"plans.jsonl", Path("plans.jsonl"), None])
def test_a_files_name_is_no_file(target: Memory, name: Any) -> None:
    with pytest.raises(InvalidArgument, match="file must be an iterable"):
        transfer.import_lines(name, target)


def test_earlier_batches_stay_after_an_error(target: Memory) -> None:
    lines = [f'{{"key": "k{number:04}", "value": 1}}' for number in range(PIECE_ENTRIES)]
    with pytest.raises(InvalidArgument, match=r"line 1,001 is no entry") as caught:
        transfer.import_lines([*lines, "nonsense"], target)
    assert caught.value.__notes__ == ["Entries stored before it: 1,000."]
    assert target.count() == PIECE_ENTRIES


def test_r10_one_corrupt_entry_is_told_of_and_left_out(target: Memory, tmp_path: Path) -> None:
    harness = SQLiteFileHarness(tmp_path)
    with harness.connect() as source:
        source.put_many({"a": 1, "b": 2, "c": 3})
        harness.corrupt("default", "b")
        with pytest.raises(CorruptEntry, match="'b'"):
            transfer.copy(source, target)
        errors: list[CorruptEntry] = []
        assert transfer.copy(source, target, on_corrupt=errors.append) == 2
        assert transfer.export_lines(source, io.StringIO(), on_corrupt=errors.append) == 2
    assert [error.key for error in errors] == ["b", "b"]
    assert list(target.keys()) == ["a", "c"]


def test_a_value_that_others_wrote_on_several_lines_is_one_line(source: Memory, target: Memory) -> None:
    from sqlalchemy import text

    from agentmem.handle import repository_of

    source.put("key", {"a": 1})
    engine = repository_of(source).engine  # type: ignore[attr-defined]  # of the SQL repository
    with engine.begin() as connection:
        connection.execute(text("UPDATE memory_entries SET body = :body"), {"body": '{\r\n "a": "\\n"\n}'})
    assert transfer.import_lines(io.StringIO(exported(source)), target) == 1
    assert target.get("key") == {"a": "\n"}


def test_memory_stays_flat() -> None:
    class Sink(DictRepository):
        """Takes everything and keeps nothing."""

        def apply(self, partition: str, commands: Any) -> Any:
            self.calls["entries"] += len(commands)
            return []

    sink = Sink()
    lines = ('{"key": "k%07d", "value": "%s"}' % (number, "x" * 500) for number in range(40_000))  # noqa: UP031
    tracemalloc.start()
    try:
        assert transfer.import_lines(lines, Memory(sink)) == 40_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sink.calls["entries"] == 40_000
    assert peak < 8 * PIECE_CHARACTERS, "twenty megabytes went through"


def test_r35_a_closed_handle_refuses(source: Memory, target: Memory) -> None:
    target.close()
    source.put("key", 1)
    with pytest.raises(agentmem.Closed):
        transfer.copy(source, target)
    source.close()
    with pytest.raises(agentmem.Closed):
        exported(source)
