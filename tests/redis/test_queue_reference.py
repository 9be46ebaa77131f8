"""Whatever is done, a queue is as its reference (agentmem.testing.queue_model) has it."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from agentmem import LeaseLost
from agentmem.queue_port import Claim, Exchange, Exchanged, Item, NewItem, Put, Settle
from agentmem.testing.queue_model import ReferenceQueues
from tests.redis.queue_helpers import LEASE_MS, Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentmem.memory import Memory

SHORT_MS = 400


class Both:
    """A queue and its reference, which are asked the same; ids differ, all else must not."""

    def __init__(self, work: Work, seed: int) -> None:
        self.work = work
        self.reference = ReferenceQueues(lambda _, __: [], now=work.repository.server_time)
        self.random = random.Random(seed)
        self.ids: dict[int, int] = {}
        self.leased: list[Item] = []
        self.done: list[Any] = [seed]

    def exchange(self, step: Exchange) -> None:
        self.done.append(step)
        theirs = step._replace(settles=[each._replace(id=self.ids[each.id]) for each in step.settles])
        expected, found = (
            self._outcome(lambda: self.reference.exchange("default", step)),
            self._outcome(lambda: self.work.store.exchange("default", theirs)),
        )
        if isinstance(expected, Exchanged) and isinstance(found, Exchanged):
            for want, got in zip(expected.puts, found.puts, strict=True):
                assert self.ids.setdefault(want.id, got.id) == got.id, self.done
                assert want.created == got.created, self.done
            assert self._shown(expected.items, own=True) == self._shown(found.items), self.done
            assert len(expected.ends) == len(found.ends)
            self.leased += expected.items
        else:
            assert (expected, type(found)) == ([self._own(each) for each in found or ()], list), self.done

    def _outcome(self, call: Callable[[], Exchanged]) -> Exchanged | list[int]:
        try:
            return call()
        except LeaseLost as error:
            return list(error.items)

    def _own(self, number: Any) -> int:
        return next(own for own, theirs in self.ids.items() if theirs == number)

    def _shown(self, items: list[Item], *, own: bool = False) -> list[Any]:
        return [(each.id if own else self._own(each.id), *each[1:9], each.error) for each in items]

    def compare(self) -> None:
        name = self.work.name
        assert self.reference.counts("default", name) == self.work.counts(), self.done
        for dead in (False, True):
            expected = self._shown(self.reference.peek("default", name, 99, dead=dead), own=True)
            assert expected == self._shown(self.work.store.peek("default", name, 99, dead=dead)), self.done
        assert self.reference.names("default") == self.work.store.names("default"), self.done

    def step(self) -> None:
        """Any one call, which is the same for both."""
        name, pick = self.work.name, self.random.choice
        kind = pick(["put", "put", "claim", "claim", "settle", "settle", "mixed", "mixed", "redrive", "purge"])
        if kind == "redrive" or (kind == "purge" and self.random.random() < 0.5):
            limit = self.random.randint(1, 3)
            self.done.append((kind, limit))
            assert self.reference.redrive("default", name, limit) == self.work.store.redrive("default", name, limit)
        elif kind == "purge":
            dead = pick([True, True, False])
            self.done.append((kind, dead))
            removed = self.work.store.purge("default", name, dead=dead)
            assert self.reference.purge("default", name, dead=dead) == removed, self.done
        else:
            self.exchange(
                Exchange(
                    self._settles() if kind in ("settle", "mixed") else (),
                    [self._put() for _ in range(self.random.randint(1, 3))] if kind in ("put", "mixed") else (),
                    self._claim() if kind in ("claim", "mixed") else None,
                )
            )

    def _put(self) -> Put:
        pick = self.random.choice
        text, dedup_key, group = str(self.random.random()), pick([None, None, "", "k"]), pick([None, "g", "h", ""])
        return Put(
            self.work.name, NewItem(text, pick([0, 0, SHORT_MS]), pick([0, 0, 5]), dedup_key, group, pick([0, 1, 2]))
        )

    def _claim(self) -> Claim:
        pick = self.random.choice
        request = pick(["r", "s", str(self.random.random())])
        return Claim(self.work.name, self.random.randint(1, 3), pick([SHORT_MS, LEASE_MS]), request)

    def _settles(self) -> list[Settle]:
        chosen = {item.id: item for item in self.random.sample(self.leased, min(2, len(self.leased)))}
        verbs: list[Any] = ["ack", "nack", "nack", "extend", "bury"]
        delays = [0, SHORT_MS, LEASE_MS]
        made = []
        for item in chosen.values():
            verb, delay = self.random.choice(verbs), self.random.choice(delays)
            delay = delay or LEASE_MS if verb == "extend" else delay
            made.append(Settle(self.work.name, item.id, item.fence, verb, delay, self.random.choice([None, "", "é"])))
        return made


@pytest.mark.parametrize("seed", range(6))
def test_r37_whatever_is_done_a_queue_is_as_its_reference(memory: Memory, seed: int) -> None:
    """Times are far apart for both: a burst takes less than what is delayed in it, or tells nothing."""
    both = Both(Work(memory), seed)
    for _ in range(6):
        start = time.monotonic()
        while time.monotonic() - start < SHORT_MS / 2000:
            try:
                both.step()
                both.compare()
            except AssertionError:
                if time.monotonic() - start < SHORT_MS / 1000:
                    raise
                return  # what was delayed came due between the asking of one and of the other
            assert memory.check() == []
        time.sleep(1.2 * SHORT_MS / 1000)
        both.compare()
