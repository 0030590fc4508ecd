"""`/v3/lease/...`, and the same under the names `/v3/kv/lease/...` that clients call."""

import secrets
from collections.abc import Iterator
from functools import partial

from core.api.http.message import Handler
from core.api.v3.calls import Call, Context, Several, Unary
from core.api.v3.encoding import Int64, Message, base64_of, int64
from core.api.v3.errors import Code, etcd, invalid, refusal, stream_line
from core.api.v3.header import reply_body, result_line
from core.api.v3.leasing import permit_lease, rules_reserved, withheld
from core.kv.access import Right, span
from core.kv.commands import LeaseGrant, LeaseKeepAlive, LeaseRevoke
from core.kv.errors import LeaseNotFoundError
from core.kv.outcomes import LeaseDone
from core.kv.reserved import is_reserved

SHORTEST_TTL = 2
"""Seconds. What is shorter becomes this, as in etcd with its timers as they come."""
LONGEST_TTL = 9_000_000_000
KEEP_ALIVES = 1000
"""Messages that the body of one keep-alive may have."""
_LISTED = 1000
"""Leases to a slice of the list."""
_SECOND = 1_000_000_000


class LeaseGrantRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Make a lease; without an id the node chooses one."""

    TTL: Int64 = 0
    ID: Int64 = 0


class LeaseRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Revoke a lease, or keep it alive."""

    ID: Int64 = 0


class LeaseTimeToLiveRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Ask what is left of a lease, and with `keys` what hangs on it."""

    ID: Int64 = 0
    keys: bool = False


class LeaseLeasesRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """List all leases."""


def lease_handlers(context: Context) -> dict[str, Handler]:
    """The handlers by path."""
    leases = _Leases(context)
    aliased: dict[str, Handler] = {
        "lease/revoke": Unary(context, LeaseRequest, leases.revoke),
        "lease/timetolive": Unary(context, LeaseTimeToLiveRequest, leases.time_to_live),
        "lease/leases": Unary(context, LeaseLeasesRequest, leases.list_all),
    }
    return {
        "lease/grant": Unary(context, LeaseGrantRequest, leases.grant),
        "lease/keepalive": Several(context, LeaseRequest, leases.keep_alive),
        **aliased,
        **{f"kv/{path}": handler for path, handler in aliased.items()},
    }


class _Leases:
    """The handlers."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._header = context.header

    def grant(self, request: LeaseGrantRequest, call: Call) -> None:
        """Make a lease."""
        ttl = int64(request.TTL)
        if ttl > LONGEST_TTL:
            raise etcd(Code.OUT_OF_RANGE, "too large lease TTL")
        chosen = int64(request.ID) or secrets.randbits(63) | 1
        call.propose(LeaseGrant(chosen, max(ttl, SHORTEST_TTL)), partial(self._granted, call))

    def _granted(self, call: Call, done: LeaseDone) -> None:
        call.send(reply_body(self._header.at(done.revision), {"ID": str(done.id), "TTL": str(done.ttl)}))

    def revoke(self, request: LeaseRequest, call: Call) -> None:
        """End a lease and delete its keys."""
        lease = int64(request.ID)
        permit_lease(self._store, call, lease)
        command = LeaseRevoke(lease, rules_reserved(self._store, call, lease))
        call.propose(command, lambda done: call.send(reply_body(self._header.at(done.revision))))

    def time_to_live(self, request: LeaseTimeToLiveRequest, call: Call) -> None:
        """Say what is left of a lease."""
        call.confirmed(partial(self._time_to_live, int64(request.ID), request.keys, call))

    def _time_to_live(self, lease: int, keys: bool, call: Call) -> None:
        header = self._header.now()
        found = self._store.lease(lease)
        if found is None:
            call.send(reply_body(header, {"ID": lease and str(lease), "TTL": "-1"}))
            return
        terms, attached = found
        if keys:
            left_out = withheld(call.reserve, Right.READ, attached)
            attached = [key for key, out in zip(attached, left_out, strict=True) if not out]
            call.permit_spans(Right.READ, tuple([span(key, None) for key in attached if not is_reserved(key)]))
        left = max(terms.deadline - self._store.clock.now(), 0) // _SECOND
        fields = {"ID": str(lease), "TTL": left and str(left), "grantedTTL": str(terms.ttl)}
        call.send(
            reply_body(header, {**fields, "keys": [base64_of(key).decode() for key in attached] if keys else None})
        )

    def list_all(self, request: LeaseLeasesRequest, call: Call) -> None:
        """List all leases."""
        call.confirmed(lambda: call.send_slices(b'{"header":%b' % self._header.now(), self._listed()))

    def _listed(self) -> Iterator[bytes]:
        after = 0
        while found := self._store.leases(after, _LISTED):
            before = b"," if after else b',"leases":['
            after = found[-1]
            yield before + b",".join([b'{"ID":"%d"}' % lease for lease in found])
        yield b"]}" if after else b"}"

    def keep_alive(self, requests: list[LeaseRequest], call: Call) -> None:
        """Start the time of leases anew, one after the other; a line for each."""
        if len(requests) > KEEP_ALIVES:
            raise invalid(f"more than {KEEP_ALIVES} keep-alives in one request")
        self._next_alive([int64(request.ID) for request in requests], [], call)

    def _next_alive(self, leases: list[int], lines: list[bytes], call: Call) -> None:
        if len(lines) == len(leases):
            call.send(b"".join(lines))
            return
        lease = leases[len(lines)]

        def alive(revision: int, ttl: int) -> None:
            fields = {"ID": lease and str(lease), "TTL": ttl and str(ttl)}
            lines.append(result_line(reply_body(self._header.at(revision), fields)))
            self._next_alive(leases, lines, call)

        def refused(error: Exception) -> None:
            if isinstance(error, LeaseNotFoundError):
                alive(self._store.revision, 0)
            elif lines:
                call.send(b"".join([*lines, stream_line(refusal(error))]))
            else:
                call.fail(error)

        command = LeaseKeepAlive(lease, rules_reserved(self._store, call, lease))
        call.propose_or(command, lambda done: alive(done.revision, done.ttl), refused)
