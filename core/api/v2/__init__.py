"""The v2 dialect: `/v2/keys` and its neighbours, as etcd 2.3.8 answers them.

Purpose. Parse a request, choose the operation (reference: etcd's `docs/v2/api.md`), propose it, render the outcome.
No rule of the keyspace lives here: whether a key exists or a comparison holds is for `core.kv` to say.

Promises
- No bytes of a client raise out of a handler: what cannot be understood is answered with an error of the dialect.
- Every request is answered once. A write whose outcome is not known is answered so (504), never repeated.
- A listing shows one index of the whole store, however large it is, and never holds the loop for more than some
  milliseconds; if that index is compacted away in the middle, the connection breaks rather than lie.
- JSON shapes, field order, headers and status codes are etcd's.

Where it departs from etcd, on purpose
- A path that is not clean is served at its clean form; Go's router answers 301, which few clients follow on a PUT.
- At most 256 parameters of a request are read; more are refused with 210.
- `wait` together with `quorum` waits (etcd forgets the wait and reads). A `stream` from a past index goes on.
- A key that is not UTF-8, longer than 64 KiB or deeper than 256 directories is refused with 209.
- TTLs are limited to 9,223,372,036 s, where etcd's arithmetic runs over.
- `<`, `>` and `&` stand for themselves in JSON strings; both forms read as the same text.
- Busy is 503, a full disk 507, an unknown outcome 504; the `errorCode` is 300 in all of them, 301 without leader.

Refused: redirects to the leader (members forward), closing idle polls (clients take an empty answer for an error).

State. `Counters` for `/v2/stats/store`, per node, lost at restart; writes are counted here, where their outcome is
answered, not where they are applied. Cancelling a watch or a listing closes it; a crash loses nothing but answers.
"""
