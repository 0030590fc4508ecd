"""The v3 dialect as JSON over HTTP/1.1: what etcd's gateway offers below `/v3/`, and under its older names
`/v3beta/` and `/v3alpha/`.

Purpose. `routes` lists every path; each is a `calls.Unary` or a stream with a typed request (`encoding`), which checks
what was asked, asks the gate (`core.api.access`), reads the store or proposes a command, and renders the outcome. No
rule of the keyspace lives here.

Promises
- No bytes of a client raise out of a handler: what cannot be understood is answered as the gateway answers it.
- Every request is answered once. A write whose outcome is not known is answered so (504), never repeated.
- Reads are linearizable unless `serializable` is asked for. A range is of one revision, however large; it is read in
  slices and holds the loop for some milliseconds at most. If its revision is compacted away in the middle, the
  connection breaks rather than lie.
- Shapes, names, defaults, error bodies and codes are those of etcd 3.4; `tests/v3` plays every path against it.

Where it departs from etcd, on purpose
- Bytes may be base64 of either alphabet, with or without padding, as the JSON form of protocol buffers has it.
- All fields of error bodies that any version of etcd had are there, for old and new clients.
- Without credentials a caller is the role guest, as in v2: one model of access for both dialects. etcd's words for
  whoever has neither credentials nor permission remain.
- Users and roles, members, snapshots and the transfer of the lead need an office (decision 15), whether access to keys
  is restricted or not. The role root is always there.
- A transaction of n changes moves the revision by n; its keys carry the last of them. Changes of users and roles are
  revisions too.
- A transaction has 1,024 operations in all, and its ranges and comparisons look at 10,000 keys (`core.kv.flat`): it is
  carried out in one piece, and everybody waits for it.
- Leases have positive ids. A keep-alive is a logged command and survives a change of the leader.
- The alarm NOSPACE rises and goes by itself. Defragmentation has nothing to do: space is reused.
- An empty password is none: its user cannot log in by one.

Refused: gRPC itself (HTTP/2), hashed passwords from outside, alarms raised by hand.

State. Tokens (`core.api.access.tokens`), in memory, lost at restart. Cancelling a range or a stream closes it.
"""
