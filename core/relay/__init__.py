"""Requests passed on to the members of a cluster, by a process that is none of them.

Promises: a request that was not sent goes to the next member, and so does a read whose answer did not come. A write is
sent at most once; if its answer does not come, whoever asked gets 504 and is told that the outcome is not known
(decision 13). Streams are passed on piece by piece, no faster than they are read, and are broken off where the
member's breaks off, so that nobody takes them for whole. What an operator does is refused: a member cannot tell who
is behind this process.

Refused: caching, answering from here, repeating writes, passing on client certificates or who the caller is: of whoever
asks only the Authorization header is passed on.

A watch whose request stays open is passed on both ways (`conversing`).

Owns its connections to the members, and one task for each request under way, of which a client's connection has at most
one. Cancelled, those tasks end and what they wait for is closed. A crash leaves nothing behind. There are no queues.
"""

from core.relay.calls import OPENED
from core.relay.passing import Relay
from core.relay.revoked import Revoked
from core.relay.upstreams import Upstreams

__all__ = ["OPENED", "Relay", "Revoked", "Upstreams"]
