"""The doors to units and machines: fleet's HTTP interface, what fleet had not, and the face of each host.

Purpose. `/fleet/v1` and `/v1-alpha` are fleet's API v1: units, their state, machines and their metadata, pages, errors,
its discovery document. `/corenode/fleet/...` has the rest: texts byte for byte, restart, scale, cordon and drain,
rollouts, why a unit is where it is, what happens as it happens, and the logs of a unit wherever it runs.
`/corenode/host/units/...` is what a host answers about its own units, to members and operators.

Promises
- Nothing here places anything: it writes what is wanted, in transactions that compare what was read, and the engine
  does the rest. A change that lost a race is decided anew from what is there then.
- A listing is of one revision, and so are its further pages if they are asked for within `listing.KEPT_SECONDS`.
- Reading needs the office of a reader, logs and changes that of an operator; each change is a line of the audit log.
- What cannot be is refused with the reason: texts with theirs and the line, names, states, machines.
- What it costs is bounded: `service.MOST` requests and `service.STREAMS` streams at a time, answers in time or 504.

Refused: placing by request (`unit X to machine Y` is what `MachineID=` says), access by roles of keys, and fleet's open
socket: whoever may not read the store's system records may not read these either.

State. Which machines each unit is on (`index`), the shapes of texts that were shown last, some megabytes, and the
listing that was made last. A crash loses it; a task that is cancelled leaves a transaction done or not done. Queues:
none; who comes when too much is under way gets 503.
"""

from core.api.fleet.forwarding import Forwarding
from core.api.fleet.host import HostFace, HostHandler, Units
from core.api.fleet.index import Index
from core.api.fleet.routes import Fleet

__all__ = ["Fleet", "Forwarding", "HostFace", "HostHandler", "Index", "Units"]
