"""Omaha, version 3: updates for hosts of other makes, such as those of Flatcar, which ask by its XML now and then.

    POST /v1/update, /v1/update/                 which update, if any; and what became of the last one
    GET  /v1/packages/<sha256>/<file>            the file that was named; a Range of it

Purpose. `protocol` reads and writes the XML, `visits` makes of what a host says the report of a host, `doors` are the
handlers. A package is a file that the cluster serves as it is: what is in it, and who signed that, is between those
hosts and their maker. The group is the track that a host names; which version goes to how many of them at a time, who
goes first, when it stops: all that the conductor decides, as for hosts of our own.

Promises
- Nobody is answered but by groups that an operator opened to such hosts, under the application's id that he gave.
- A host is offered something while it asks and at no other time, so that none that is away holds a place.
- It cannot speak for a host of our own, nor for another group's.
- Read is UTF-8 without a DOCTYPE, of bounded size, depth and number, so there is nothing to expand and nothing to
  fetch. `MOST` requests are under way at a time, and there are at most `VISITORS` such hosts.

Refused: plain HTTP, as for everything but keys: who asks shows no certificate, but at least sees ours; deltas; the
counting of active days; answering through a worker.

Whoever can connect may say that he is any of these hosts. What he can do with that: use up the turns of an opened
group, or make it pause. The packages themselves are no secret from anybody then.

It owns nothing but the tasks of its answers; what hosts said is in the store. A client that goes away while its offer
is awaited leaves a report that says that it asks, until it asks again.
"""

from core.api.omaha.doors import Omaha

__all__ = ["Omaha"]
