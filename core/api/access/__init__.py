"""Who is calling, and what they may do: identities, passwords, decisions, the audit log.

Purpose. `gate` turns a request into an identity - the user of the node's unix socket, a client certificate, a user with
a password, nobody - and judges it by the records of `core.kv.accounts`. The doors ask it; it answers through callbacks,
because a password takes a tenth of a second to check.

Promises
- Closed by default: without credentials there are the keys, as far as the role guest goes, and no system record.
- Passwords rest as scrypt hashes (N 2^15, r 8, p 3: 32 MiB each; RFC 7914) and are checked one at a time in a thread,
  without the interpreter's lock. At most `hashing.WAITING` wait; more are refused.
- A guess costs as much whether the user exists or not. Who fails often from one address waits longer each time
  (`throttle`); whose credentials were just verified does not wait.
- Every refused and every administrative request is a line of the audit log: who, from where, what, verdict. No secrets.
- A stream goes on only while whoever opened it is known by the same password or certificate and may have it; else it
  is cut off within `claims.REVIEW_SECONDS` of the change, and a watch tells nothing in between.
- While access is not restricted, a request on the keys pays for one look at an attribute.

State. Verified credentials are remembered for `gate.REMEMBERED_SECONDS` under a keyed hash, in memory only, and
forgotten when the access records change. All tables are bounded. A crash forgets them; nothing depends on them.

Refused: sessions and tokens for v2 (it has none); locking an account for good, by which anybody could lock out anyone.
"""
