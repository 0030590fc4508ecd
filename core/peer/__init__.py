"""Long-lived links between the members of a cluster, and the port they arrive at.

    links = Links(identity, receive, install, connect=make_client_context)
    links.follow({2: Address("n2", (url,)), 3: ...})       # at each change of the membership
    await nursery.start(links.run)
    server = PeerServer(links, await open_listeners(urls), context=make_server_context, answer=answer)
    await nursery.start(server.serve)
    links.send(2, KIND, [1, True, b"entries"])              # never waits
    await links.send_snapshot(2, description, pieces)

What it carries. Plain values (`plain.py`): nested lists of integers, booleans, None, text and bytes. It knows nothing
of raft or of keys.

How. Each member dials every other and sends only on the connection it dialled: nothing has to decide which of two
connections counts, and where only one of two can reach the other, what it sends arrives. A connection begins as
HTTP/1.1 (`upgrade.py`: who calls whom, of which cluster, speaking which versions), becomes frames (`frames.py`: kind,
length, checksum, CBOR), and lives on: the dialling side pings every beat, the accepting side answers and says every
beat that it lives, so that the silent are told from the idle. A silent connection is closed; a lost one is made anew
with growing pauses, the URLs of a member in turn. What goes to several members in a row is encoded once.

What it promises. `receive` is given whole, undamaged, plain values from a member that was let in, in the order in which
it sent them on one connection; what was queued when a connection broke is lost, and raft repeats what matters. Members
of other hosts are reached by mutual TLS only: both sides show a certificate of the role peer whose name is that of the
member, and the host of the URL is in the dialled side's. Plain HTTP is for loopback. Contexts are asked for at each
connection, so renewed certificates need no restart. Whoever was removed is told so. What is no frame ends the
connection with one line in the log.

A snapshot has a connection of its own (`snapshots.py`), moves as fast as its receiver takes it, and is never whole in
memory; one at a time from each sender. Both ends learn how it ended.

Full. A queue to a member holds `Limits.queue_bytes` and `queue_frames`; beyond, frames are dropped and counted, and the
connection lives on. Connections that have not said what they want are bounded in number and time: the oldest goes.

Who owns what. `Links` owns the connections that were dialled, and knows those that were accepted; `PeerServer` owns the
listening sockets and the tasks of what it accepted. All runs in one Trio loop; three tasks a connection, none a frame.
Cancelled, everything is closed at once. A crash loses what was on the way. An exception of `receive`, `install` or
`answer` that is no PeerError is a fault and ends the nursery it runs in.

Refused: one connection for both directions (which of the two dialled it would matter in each partition), confirmation
and repetition of frames (raft has its own), compression, HTTP/2.
"""

from core.peer.errors import FrameError, LinkLostError, PeerError, PeerListenError, PeerRefusedError
from core.peer.identity import Address, LinkState, PeerIdentity, plain_fault
from core.peer.limits import Limits
from core.peer.links import Links
from core.peer.listeners import PeerListener, open_listeners
from core.peer.plain import Plain
from core.peer.server import PeerServer
from core.peer.upgrade import Answer

__all__ = [
    "Address",
    "Answer",
    "FrameError",
    "Limits",
    "LinkLostError",
    "LinkState",
    "Links",
    "PeerError",
    "PeerIdentity",
    "PeerListenError",
    "PeerListener",
    "PeerRefusedError",
    "PeerServer",
    "Plain",
    "open_listeners",
    "plain_fault",
]
