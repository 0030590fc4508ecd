"""What kind of request it is: whether it may be passed on, repeated, waited for."""

import re

import msgspec

from core.api.http import Request, Response
from core.api.plain import message, method_not_allowed, not_found

HEAD_SECONDS = 5.0
"""How long a member may take to begin its answer to a read, before another is asked."""
WRITE_SECONDS = 20.0
"""How long a write may take. A member itself gives up sooner, and says so."""

_METHODS = frozenset((b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS"))
_OPERATION = "this is a worker, which passes on no operations of the cluster; ask a member"
_V3 = re.compile(rb"/v3(?:alpha|beta)?(/.*)")
_V3_READS = frozenset(
    b"/" + path
    for path in (
        b"kv/range",
        b"watch",
        b"lease/leases",
        b"lease/timetolive",
        b"kv/lease/leases",
        b"kv/lease/timetolive",
        b"cluster/member/list",
        b"election/leader",
        b"election/observe",
        b"auth/status",
        b"auth/user/get",
        b"auth/user/list",
        b"auth/role/get",
        b"auth/role/list",
    )
)
OPENED = frozenset(b"/%b/watch" % version for version in (b"v3", b"v3alpha", b"v3beta"))
"""Requests whose body stays open while the answer comes."""
_V3_WAITS = frozenset((b"/lock/lock", b"/election/campaign", b"/election/observe"))
_OPERATIONS = (b"/corenode", b"/fleet/", b"/v1-alpha", b"/v1/update", b"/v1/packages", b"/v2/admin", b"/debug")
_V3_OPERATIONS = (b"/maintenance/", b"/cluster/member/")


class Call(msgspec.Struct, frozen=True):
    """How a request is passed on."""

    repeatable: bool
    """It changes nothing, so another member may be asked if one does not answer."""
    seconds: float | None
    """Until the answer begins; None: as long as it takes."""

    @property
    def piecewise(self) -> bool:
        """Whether the answer is passed on as it comes, and given up when the client goes: all but short writes, whose
        outcome must be told as long as there is somebody to tell it to."""
        return self.repeatable or self.seconds is None


def call_of(request: Request) -> Call:
    """How to pass it on."""
    v3 = _V3.fullmatch(request.path)
    if v3 is not None:
        repeatable = v3[1] in _V3_READS
        seconds = None if v3[1] in _V3_WAITS else HEAD_SECONDS if repeatable else WRITE_SECONDS
        return Call(repeatable, seconds)
    repeatable = request.method in (b"GET", b"HEAD", b"OPTIONS")
    return Call(repeatable, HEAD_SECONDS if repeatable else WRITE_SECONDS)


def refusal_of(request: Request) -> Response | None:
    """What is answered instead of passing it on; None if it is passed on."""
    if not request.path.startswith(b"/"):
        return not_found()
    if request.method not in _METHODS:
        return method_not_allowed(sorted(_METHODS))
    return message(403, _OPERATION) if _is_operation(request) else None


def _is_operation(request: Request) -> bool:
    path = request.path
    if path.startswith(_OPERATIONS):
        return True
    if path.startswith(b"/v2/members"):
        return request.method not in (b"GET", b"HEAD")
    v3 = _V3.fullmatch(path)
    return v3 is not None and v3[1].startswith(_V3_OPERATIONS) and v3[1] not in _V3_READS
