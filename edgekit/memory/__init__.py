"""Places buffers with known lifetimes in one memory: :func:`plan_offsets`."""

from edgekit.memory.planner import plan_offsets
from edgekit.memory.problem import Buffer, Solution, merge_aliases

__all__ = ["Buffer", "Solution", "merge_aliases", "plan_offsets"]
