"""Operations: version, health, metrics, and what the command line asks of the node it stands beside.

Purpose. What a supervisor, a monitoring system and an operator need to see, over the same listeners as the keys.

Promises
- Nothing here waits without bound: a check that needs the cluster is answered by the store within its request time.
- `/corenode/...` and changes of membership are for the node's own unix socket or a client certificate of the
  right office; others get 403 and one line that says so.
- Counting costs less than a microsecond a request; text is made only when it is asked for.

Refused: profiling and log levels over HTTP (they belong to the supervisor), metrics under etcd's names (the same name
for another meaning misleads dashboards).

State. Histograms live as long as the process. A check that is cancelled or fails changes nothing.
"""
