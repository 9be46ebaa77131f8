"""The planner: what a batch amounts to, without any store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.commands import (
    KEEP_METADATA,
    AppendCommand,
    CheckCommand,
    DeleteCommand,
    IncrementCommand,
    MergeCommand,
    PutCommand,
    TouchCommand,
)
from agentmem.entries import Record
from agentmem.errors import CounterOverflow, InvalidOperation, NamespaceError, ValueTooLarge, VersionConflict
from agentmem.plan import INT64_MAX, Context, merge_patch, plan, step
from agentmem.ttl import KEEP

SECOND = 1_000_000
NOW = 20_000 * 86_400 * SECOND
CONTEXT = Context(NOW, None, None, 1_000)


def stored(key: str = "k", body: str = "1", *, version: int = 5, lives_ms: int | None = None) -> Record:
    expires = None if lives_ms is None else NOW + lives_ms * 1_000
    then = NOW - 3_600 * SECOND
    return Record(key, body, version, then, then, expires, '{"by":"me"}')


def run(*commands, over=(), context=CONTEXT):
    return plan(commands, {record.key: record for record in over}, context)


def test_r11_put_keeps_created_at_of_the_living_entry_only():
    alive = run(PutCommand("k", "2"), over=[stored()]).puts[0]
    dead = run(PutCommand("k", "2"), over=[stored(lives_ms=-1)]).puts[0]
    assert (alive.created_us, alive.updated_us) == (NOW - 3_600 * SECOND, NOW)
    assert (dead.created_us, dead.updated_us) == (NOW, NOW)
    assert (alive.metadata, dead.metadata) == (None, None)


def test_r12_versions_follow_the_clock_and_never_fall_behind_what_was_there():
    ahead = NOW + 1_000
    assert run(PutCommand("k", "2")).puts[0].version == NOW
    assert run(PutCommand("k", "2"), over=[stored(version=ahead)]).puts[0].version == ahead + 1
    assert run(PutCommand("k", "2"), over=[stored(version=ahead, lives_ms=-1)]).puts[0].version == ahead + 1
    floor = CONTEXT._replace(version_floor=ahead)
    assert run(PutCommand("k", "2"), context=floor).puts[0].version == ahead + 1


@given(st.lists(st.sampled_from([PutCommand("k", "1"), DeleteCommand("k"), IncrementCommand("k")]), min_size=1))
def test_r12_versions_rise_within_a_batch_across_deletes(commands):
    result = run(*commands)
    versions = [outcome.record.version for outcome in result.outcomes if outcome.record is not None]
    assert versions == sorted(set(versions))
    kept = [record.version for record in result.puts]
    assert kept in ([], versions[-1:])
    assert result.lost_version == (versions[-1] if versions and not kept else 0)


@pytest.mark.parametrize(
    ("command", "over", "expected"),
    [
        (PutCommand("k", "2", if_absent=True), [stored()], None),
        (PutCommand("k", "2", if_version=4), [stored()], 4),
        (PutCommand("k", "2", if_version=5), [stored(lives_ms=0)], 5),
        (DeleteCommand("k", if_version=4), [stored()], 4),
        (DeleteCommand("k", if_version=4), [], 4),
        (CheckCommand("k", None), [stored()], None),
        (CheckCommand("k", 5), [], 5),
    ],
)
def test_r13_a_failed_expectation_names_what_is_there(command, over, expected):
    with pytest.raises(VersionConflict) as caught:
        run(command, over=over)
    living = over[0] if over and over[0].expires_us is None else None
    assert (caught.value.key, caught.value.expected, caught.value.current) == ("k", expected, living)


def test_r20_what_stands_stays_and_a_new_entry_takes_the_partitions_default():
    policy = CONTEXT._replace(default_ttl=1_000)
    kept = run(IncrementCommand("k"), over=[stored(lives_ms=500)], context=policy).puts[0]
    new = run(IncrementCommand("k"), context=policy).puts[0]
    never = run(PutCommand("k", "1", ttl=0), over=[stored(lives_ms=500)], context=policy).puts[0]
    updated = run(PutCommand("k", "2", KEEP_METADATA, KEEP), over=[stored(lives_ms=500)], context=policy).puts[0]
    assert kept.expires_us == updated.expires_us == NOW + 500_000
    assert new.expires_us == NOW + SECOND
    assert never.expires_us is None
    assert (kept.metadata, updated.metadata, new.metadata) == ('{"by":"me"}', '{"by":"me"}', None)


def test_r22_a_dead_entry_is_absent_to_every_command():
    dead = [stored(lives_ms=0)]
    assert run(DeleteCommand("k"), over=dead).outcomes[0].value is False
    assert run(TouchCommand("k", 1_000), over=dead).outcomes[0].value is False
    assert run(IncrementCommand("k", 2, initial=10), over=dead).outcomes[0].value == 12
    assert run(AppendCommand("k", "[1]"), over=dead).outcomes[0].value == 1
    assert run(CheckCommand("k", None), over=dead).puts == []


@pytest.mark.parametrize(
    ("command", "body", "error"),
    [
        (IncrementCommand("k"), '"1"', InvalidOperation),
        (IncrementCommand("k"), "true", InvalidOperation),
        (IncrementCommand("k"), "null", InvalidOperation),
        (IncrementCommand("k"), str(INT64_MAX), CounterOverflow),
        (IncrementCommand("k", 1.5e308), "1.5e308", CounterOverflow),
        (AppendCommand("k", "[1]"), "{}", InvalidOperation),
        (MergeCommand("k", "{}"), "[]", InvalidOperation),
        (AppendCommand("k", f'["{"x" * 990}"]'), '["0123456789"]', ValueTooLarge),
    ],
)
def test_r14_a_value_that_does_not_bear_the_operation_is_refused(command, body, error):
    with pytest.raises(error):
        run(command, over=[stored(body=body)])


def test_r04_a_partitions_namespace_covers_what_is_stored_and_not_what_is_removed():
    inside = CONTEXT._replace(namespace="in/")
    for command in (PutCommand("k", "1"), IncrementCommand("k"), AppendCommand("k", "[1]"), MergeCommand("k", "{}")):
        with pytest.raises(NamespaceError, match="'in/'"):
            run(command, context=inside)
    assert run(TouchCommand("k", 5), over=[stored()], context=inside).outcomes[0].value is True
    assert run(DeleteCommand("k"), over=[stored()], context=inside).deletes == ["k"]


def test_r15_commands_on_one_key_apply_in_order():
    result = run(
        PutCommand("k", "[1]"), AppendCommand("k", "[2,3]", 2), DeleteCommand("k", returning=True), PutCommand("k", "9")
    )
    assert [outcome.value for outcome in result.outcomes] == [None, 2, True, None]
    assert result.outcomes[2].record.body == "[2,3]"
    assert [(record.key, record.body) for record in result.puts] == [("k", "9")]
    assert result.deletes == []


def test_a_batch_that_changes_nothing_stores_nothing():
    result = run(CheckCommand("k", 5), TouchCommand("x", 5), DeleteCommand("y"), over=[stored()])
    assert (result.puts, result.deletes, result.lost_version) == ([], [], 0)
    outcome, after = step(CheckCommand("k", 5), stored(), CONTEXT)
    assert outcome.record is None
    assert after == stored()


# The examples of RFC 7396, appendix A, whose target and patch are objects.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_r14_merge_is_rfc_7396(target, patch, result):
    assert merge_patch(target, patch) == result
