"""Real processes under faults, and what they may not do whatever happens.

`checker` and `models` decide whether a history of operations is linearizable, `watches` whether what watchers saw is
in order, once and whole: both pure, and proven on histories known to be good or bad. `cluster` runs real nodes on hosts
of a `network`, a namespace each with mutual TLS between them, and can kill, pause, fill and replace them; `faults`
deals that out, and cuts the network in one or both directions. `workload` are the clients, `run` puts all together and
judges after each round. `broken` has programs with one fault each that must be found out.

    make chaos MINUTES=10                      three nodes, a seed by chance, which is printed
    make chaos MINUTES=5 NODES=5 SEED=7        whom it strikes with what is of the seed, when is up to the machine

A run ends with exit status 1 at the first violation, and also if too little happened to mean anything; history and logs
are then in build/chaos. Nothing needs to be tidied up by name: namespaces and mounts belong to processes, and these die
with their parent. It needs root, or user namespaces, and Debian's packages iproute2 and nftables.
"""
