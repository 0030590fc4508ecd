"""This program under the name `etcd`: etcd's own flags, variables and configuration file, for whatever starts etcd.

Promises. Invoked by a link named `etcd`, it reads the command line as Go's flag package does (one dash or two, `=` or a
space, the last of repeated flags), `ETCD_*` variables behind it, or with --config-file that YAML file and nothing else,
as etcd 3.4 does. It stays one process and says READY to systemd. A flag means what it means there; one that tunes what
this program does otherwise is accepted with a warning, and one whose meaning cannot be kept (another authority's
revocation list, a proxy) is refused with a reason, rather than serve with less than what was asked for.

Kept otherwise: `http://` on addresses that others reach is accepted, with a warning, as etcd's users expect. What stays
stricter: members on different hosts speak TLS with certificates of the role peer, web pages of other origins are let in
only where --cors says so, and history is compacted after a day unless --auto-compaction-retention says otherwise.

Refused: reading an etcd's data directory; the verbs `gateway` and `grpc-proxy`.

No state, no tasks: it makes a `Config` and hands it to the daemon.
"""
