"""Whole clusters in one thread from one seed: no real time, no files, no tasks.

    make sim SEEDS=2000      many seeds, in several processes, and totals at the end
    make sim SEED=17         one seed again, with the trace of its last steps

What is real: `core.raft`, driven as its contract says, and the cluster's clock. What is simulated: the disk (`disk`),
the network (`network`, `snapshots`), the machine a member runs on (`hardware`), the state machine (`state`), and the
loop that drives a member (`process`). What goes wrong is drawn from the seed (`plan`, `faults`, `admin`, `clients`);
what must hold whatever goes wrong is in `checker`, apart from all faults. A run has two phases (`cluster`): a simulated
minute of faults in which nothing may ever be untrue, then everything heals and the cluster must make progress in
bounded time.

What it promises: a seed gives the same run every time with the same code, so a failing seed is a test case; and a check
that cannot fail is no check: `mistakes` has a known-bad variant for each, and the tests show that it is caught.

What it refused: encoding the messages (they are passed as values; their encoding has tests of its own); a check of
complete histories (what is compared is the place in the log a read saw, which decides the same question in no time).
"""
