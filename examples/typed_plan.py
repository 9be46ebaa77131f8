"""Validated models in memory: a plan that several agents tick off at once, and no tick is lost.

Run it as `python examples/typed_plan.py [URL]`.
"""

from __future__ import annotations

import sys
import threading

from pydantic import BaseModel, Field

import agentmem


class Plan(BaseModel):
    """What is to be done, and what was."""

    goal: str
    steps: list[str] = Field(min_length=1)
    done: list[str] = []


def tick(plans: agentmem.TypedMemory[Plan], step: str) -> None:
    """Mark a step as done. `update` reads, changes and writes under the version that it read, and tries again."""
    plans.update("plan", lambda plan: plan.model_copy(update={"done": [*plan.done, step]}))


def main(url: str) -> None:
    """Write a plan, tick off its steps from threads, and try to store something that is no plan."""
    with agentmem.connect(url, partition="typed", create="always") as memory:
        plans = memory.scoped("team-7/").typed(Plan)
        plans.put("plan", Plan(goal="release", steps=["test", "build", "announce"]))
        plan = plans.get("plan")
        assert plan is not None
        threads = [threading.Thread(target=tick, args=(plans, step)) for step in plan.steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = plans.get("plan")
        assert after is not None
        print(f"{after.goal}, steps done: {len(after.done)}")
        try:
            memory.scoped("team-7/").typed(Plan).put("plan", {"goal": "nothing", "steps": []})
        except agentmem.InvalidValue as error:
            print(f"refused: {error}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://")
