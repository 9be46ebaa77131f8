"""A fleet of small agents that examine a source tree and coordinate by memory alone: the demo, and an example."""

from agentmem.demo.fleet import Outcome, Progress, RunReplaced, run_fleet
from agentmem.demo.sources import standard_library

__all__ = ["Outcome", "Progress", "RunReplaced", "run_fleet", "standard_library"]
