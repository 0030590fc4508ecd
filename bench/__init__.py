"""This node beside Debian's etcd: `python -m bench`, and how speed is measured here (README.md).

    workloads   what is measured: the rows, and which of them a plain run takes
    goals       what the ratios shall be
    programs    how this node and its peer are started
    servers     their processes, one member or three, plain or with mutual TLS
    wrk         the load, and load.lua what it sends
    fanout      events to many watches, and a second program in Python that reads them
    usage       what a process took: processor, memory, disk
    rounds      pairs of runs, one against each
    history     the runs as JSON lines
    tables      the runs as tables; plot, the same as a picture; readme, both in the project's README

Not part of that: cluster (fail-over, a new member), watch (memory of watches that wait), tls (handshakes), and what is
measured without a peer: disk, peer, frontend. Each runs by itself, as `python -m bench.NAME`.

A run owns the directory it is given and its processes, which die with it. What was measured is in the history before
the next row begins, so a run that is stopped loses the row it is at, and `--resume` takes the others as they are.
"""
