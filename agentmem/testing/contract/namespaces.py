"""R4: a namespace is the prefix that every key written must have, by handle or as a partition's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agentmem.errors import InvalidArgument, NamespaceError
from agentmem.operations import Append, Increment, Merge, Put
from agentmem.testing.contract.base import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.testing.harness import Harness

WRITES: dict[str, Callable[[Memory, str], Any]] = {
    "put": lambda memory, key: memory.put(key, 1),
    "put_many": lambda memory, key: memory.put_many({"aqe/in": 1, key: 2}),
    "increment": lambda memory, key: memory.increment(key),
    "append": lambda memory, key: memory.append(key, 1),
    "merge": lambda memory, key: memory.merge(key, {"a": 1}),
    "update": lambda memory, key: memory.update(key, lambda value: value, default=1),
    "apply put": lambda memory, key: memory.apply([Put("aqe/in", 1), Put(key, 1)]),
    "apply increment": lambda memory, key: memory.apply([Put("aqe/in", 1), Increment(key)]),
    "apply append": lambda memory, key: memory.apply([Put("aqe/in", 1), Append(key, 1)]),
    "apply merge": lambda memory, key: memory.apply([Put("aqe/in", 1), Merge(key, {"a": 1})]),
}


class Namespaces(Contract):
    """Writes outside of the namespace are refused; nothing of their batch is written."""

    @pytest.fixture(params=["handle", "policy"])
    def fenced(self, request: pytest.FixtureRequest, harness: Harness) -> Iterator[Memory]:
        """A handle whose namespace is `aqe/`, its own or its partition's."""
        if request.param == "handle":
            with harness.connect(namespace="aqe/") as memory:
                yield memory
        else:
            with harness.connect() as memory:
                yield memory.partition("fenced", namespace="aqe/")

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    def test_r04_every_write_outside_is_refused(self, fenced: Memory, write: Callable[[Memory, str], Any]) -> None:
        for key in ("other/a", "aqe", "AQE/a", "aqe_a", "/aqe/a"):
            with pytest.raises(NamespaceError) as caught:
                write(fenced, key)
            assert (caught.value.key, caught.value.namespace) == (key, "aqe/")
        assert list(fenced.keys()) == []

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    def test_r04_every_write_inside_is_accepted(self, fenced: Memory, write: Callable[[Memory, str], Any]) -> None:
        write(fenced, "aqe/a/b")
        assert fenced.exists("aqe/a/b")

    def test_r04_the_error_says_what_was_expected_and_what_came(self, fenced: Memory) -> None:
        with pytest.raises(ValueError, match="aqe/") as caught:
            fenced.put("elsewhere/plan", 1)
        assert "elsewhere/plan" in str(caught.value)
        assert isinstance(caught.value, InvalidArgument)

    def test_r04_a_transaction_is_fenced_too(self, fenced: Memory) -> None:
        with pytest.raises(NamespaceError), fenced.transaction() as tx:  # noqa: PT012 - put or commit raises
            tx.put("aqe/a", 1)
            tx.put("b", 2)
        assert list(fenced.keys()) == []

    def test_r04_reading_and_removing_are_not_fenced(self, fenced: Memory) -> None:
        assert fenced.get("other") is None
        assert not fenced.exists("other")
        assert not fenced.delete("other")
        assert not fenced.touch("other", 60)
        assert fenced.get_many(["other", "aqe/a"]) == {}

    @pytest.mark.parametrize("existing", [True, False])
    def test_r04_the_namespace_is_looked_at_before_expectations(self, memory: Memory, existing: bool) -> None:
        jobs = memory.partition("jobs")
        version = jobs.put("old", 1).version
        if not existing:
            jobs.delete("old")
        memory.partition("jobs", namespace="aqe/")
        before = list(jobs.items())
        expectations: list[dict[str, Any]] = [{"if_version": version}, {"if_version": version + 1}, {"if_absent": True}]
        for expectation in expectations:
            with pytest.raises(NamespaceError):
                jobs.put("old", 2, **expectation)
            with pytest.raises(NamespaceError):
                jobs.apply([Put("aqe/new", 1), Put("old", 2, **expectation)])
        assert list(jobs.items()) == before

    def test_r04_a_namespace_is_no_pattern(self, harness: Harness) -> None:
        with harness.connect(namespace="a*") as memory:
            memory.put("a*b", 1)
            with pytest.raises(NamespaceError):
                memory.put("axb", 1)

    def test_r04_a_policy_holds_for_every_handle(self, memory: Memory) -> None:
        memory.partition("fenced", namespace="aqe/")
        for handle in (memory.partition("fenced"), memory.partition("fenced").scoped("b")):
            with pytest.raises(NamespaceError):
                handle.put("other", 1)
        memory.put("other", 1)
        assert memory.partition("fenced").count() == 0

    def test_r04_a_policy_holds_for_another_connection(self, shared: Harness) -> None:
        with shared.connect() as first, shared.connect(partition="fenced") as second:
            second.put("before", 1)
            first.partition("fenced", namespace="aqe/")
            with pytest.raises(NamespaceError):
                second.put("after", 1)
            assert second.get("before") == 1

    def test_r04_a_handles_namespace_and_a_policy_both_hold(self, harness: Harness) -> None:
        with harness.connect(namespace="aqe/") as memory:
            both = memory.partition("both", namespace="aqe/plans/")
            both.put("aqe/plans/1", 1)
            for key in ("aqe/results/1", "plans/1"):
                with pytest.raises(NamespaceError):
                    both.put(key, 1)
            assert list(both.keys()) == ["aqe/plans/1"]

    def test_r04_a_scope_inside_the_namespace_can_be_written(self, fenced: Memory) -> None:
        fenced.scoped("aqe/run/").put("plan", 1)
        assert fenced.get("aqe/run/plan") == 1
        with pytest.raises(NamespaceError, match="together with the prefix of its handle") as caught:
            fenced.scoped("other/").put("aqe/plan", 1)
        assert (caught.value.key, caught.value.namespace) == ("aqe/plan", "aqe/")
        assert "other/" not in str(caught.value)
