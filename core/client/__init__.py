"""The store, for everything above it and for other programs: in this process, at a node, or at an etcd cluster.

`connect(url)` gives a `Store`: one typed interface (range, put, delete, txn, watch, lease, lock, election) whichever
way leads to it. `RemoteStore` speaks the v3 dialect over HTTP, to corenode and to etcd 3.4 and newer; `InsideStore`
asks the member in this process. `Tree` and `Accounts` are the v2 dialect, `Operations` the endpoints of an operator;
all that goes over HTTP shares `Transport`: TCP, TLS or a node's unix socket.

Promises: an endpoint that cannot be connected to is passed over for the next; a write is sent at most once, and if its
outcome is not known `OutcomeUnknownError` says so (decision 14); a watch that reconnects loses and repeats nothing,
or says that history is gone. Every call ends by its deadline; watches and streams have none. Answers have a largest
size. Locks and elections are made of transactions, leases and watches on this side (see `contention`): so they are the
same everywhere, and queue fairly with the contenders of etcd's own clients.

Refused: repeating writes, following redirects, keeping state beyond idle connections and a token.

Owns only its connections. Cancelled: the connection in use is closed, never used again; a lock or lease is given back
first, for at most LEAVE_SECONDS. A crash leaves nothing behind that does not end with its lease. There are no queues:
who calls waits, and a watch reads no further than its user does.
"""

from core.client.connect import connect
from core.client.contention import Claim
from core.client.election import Election, Leaders, Leadership
from core.client.leasing import Lease
from core.client.store import Store, Watch
from core.client.values import (
    EVERYTHING,
    Batch,
    Compare,
    Delete,
    DeleteResult,
    Event,
    Keys,
    KeyValue,
    LeaseStatus,
    Operation,
    Put,
    PutResult,
    Range,
    RangeResult,
    Result,
    Txn,
    TxnResult,
    from_key,
    prefix,
)

__all__ = [
    "EVERYTHING",
    "Batch",
    "Claim",
    "Compare",
    "Delete",
    "DeleteResult",
    "Election",
    "Event",
    "KeyValue",
    "Keys",
    "Leaders",
    "Leadership",
    "Lease",
    "LeaseStatus",
    "Operation",
    "Put",
    "PutResult",
    "Range",
    "RangeResult",
    "Result",
    "Store",
    "Txn",
    "TxnResult",
    "Watch",
    "connect",
    "from_key",
    "prefix",
]
