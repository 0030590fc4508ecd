"""What an engine counts, under fleet's names where fleet counted the same."""

import msgspec


class Figures(msgspec.Struct):
    """Of one process, over all its terms."""

    engine_leader_start_time: float = 0.0
    """Unix seconds since when it leads; 0: it does not."""
    engine_task_count_total: int = 0
    engine_task_failure_count_total: int = 0
    """Transactions that did not hold, or whose outcome had to be found out."""
    engine_reconcile_count_total: int = 0
    """Plans."""
    engine_reconcile_failure_count_total: int = 0
    """Terms that ended by an error."""
    engine_reconcile_duration_second: float = 0.0
    """Spent planning, all plans together."""
    slices: int = 0
    longest_slice: float = 0.0
    """Seconds; nothing else of the process ran meanwhile."""
    texts_collected: int = 0
    waiting: int = 0
    """Units that are wanted and stand nowhere."""
    holding: str = ""
    """Why it places nothing, as a sentence; empty if it does."""
