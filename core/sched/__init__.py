"""Units, machines and placement: what the cluster's init system knows and decides, as pure rules.

Purpose. `names`, `unit_text` and `fleet_section` read units; `records` and `keys` say what rests where in the store;
`view` holds all of it at one revision and is kept up to date change by change; `planner` says what to do next and why;
`handover` keeps a unit that moves from running twice; `explain` says why a unit is where it is, or nowhere; `rollout`
replaces a unit's text step by step.

Promises
- Same inputs, same outputs: no clock, no chance, no I/O. The present time is a number that is passed in.
- A plan breaks no rule of any unit, gives the reason of each task in words, and moves nothing without a reason.
- A plan is made in slices of bounded work, and its work is in proportion to what changed.
- Text that cannot be a unit is refused with the line and the reason; what is merely unknown gives a warning.

Refused: placement by chance or by sampling (nobody could explain it), priorities and preemption (a unit that runs is
never pushed out for another one, but for `Replaces`).

Who owns state: the caller owns the `View`, feeds it, and drops a plan whose revision is no longer the view's. Nothing
here is cancelled, crashes or fills up; a plan that is dropped half way has changed nothing.
"""
