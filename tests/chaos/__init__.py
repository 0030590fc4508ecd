"""Real processes under faults, and what they may not do whatever happens.

`checker` and `models` decide whether a history of operations is linearizable, `watches` whether what watchers saw is in
order, once and complete: both pure. `cluster` runs real nodes, each in a network namespace of its own, and can kill,
pause, cut off, fill and replace them; `faults` decides when. `workload` are the clients. `python -m tests.chaos` puts
them together.

Nothing needs to be tidied up by name: namespaces and mounts belong to processes, and these die with their parent.
"""
