"""`/corenode/renew`: a new certificate for a host that has one which is still good, when its time has come.

For members and workers that do not have the issuing key. Who asks shows its own certificate of the role peer or host;
what is renewed is that one, or a server's certificate. The new one is for the same key, role, name and addresses, and
never for more: the request is signed with the key, and all the rest is taken from the old certificate. A member that
was removed, a machine id that belongs to another key, a revoked certificate, or one whose key had a revoked certificate
before, gets none; and before two thirds of its life are over nobody does, so that a stolen key cannot gather them.
"""

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from core.api import members
from core.api.access import audit
from core.api.access.hashing import Hashing
from core.api.access.identity import ANONYMOUS, of_certificate
from core.api.access.reserve import RELAYED
from core.api.http.message import Reply, Request, Response
from core.api.plain import json_answer, message, method_not_allowed
from core.api.store import ProposalError, Store
from core.kv.access import Identity
from core.kv.hosts import Holder
from core.kv.membership import Member
from core.tls.authority import Authority, AuthorityError
from core.tls.contexts import TlsFilesError
from core.tls.enrolment import EnrolmentError
from core.tls.renewal import Renewable, RenewalRefusedError, renewable

PATH = b"/corenode/renew"
MOST_BYTES = 32_768
KEPT = 1024
"""Renewals that are known: whoever asks again for the same gets the same, so nobody fills the authority's directory."""
_JOIN_ANEW = "; join this host again, with a token"


class Place(Protocol):
    """What the node knows of the cluster. The daemon fulfils it."""

    @property
    def authority(self) -> Path | None:
        """The directory of the issuing authority, if it is on this node."""
        ...

    def known(self) -> Sequence[Member]:
        """The members of the cluster."""
        ...

    def holder(self, machine: str) -> Holder | None:
        """Whose a machine id is."""
        ...

    def revoked(self) -> Sequence[int]:
        """The serial numbers of all revoked certificates."""
        ...


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a host sends, both PEM: its certificate, and a certificate request signed with the same key."""

    certificate: str
    request: str


class RenewHandler:
    """POST `Asked`: `{"certificate": PEM}` with its issuer behind it, or why not. `now` gives Unix seconds."""

    def __init__(self, store: Store, place: Place, signing: Hashing, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._place = place
        self._signing = signing
        self._now = now
        self._done: dict[int, bytes] = {}
        """What was made for a serial number."""

    def __call__(self, request: Request, reply: Reply) -> None:
        caller = request.caller
        who = ANONYMOUS if caller.certificate is None else of_certificate(caller.certificate)

        def refuse(status: int, why: str) -> None:
            audit.refused(who.name, request, why)
            reply.send(message(status, why))

        def confirmed(error: ProposalError | None) -> None:
            if error is not None:
                reply.send(message(members.status_of(error), str(error)))
                return
            why = self._stranger(who, found)
            if why:
                refuse(403, why)
            elif self._place.authority is None:
                reply.send(self._elsewhere())
            else:
                revoked = tuple(self._place.revoked())
                if not self._signing.submit(lambda: self._sign(found, revoked), signed):
                    reply.send(message(503, "too many certificates are asked for at once; try again"))

        def signed(made: bytes | RenewalRefusedError | str) -> None:
            if isinstance(made, bytes):
                self._done[found.serial] = made
                if len(self._done) > KEPT:
                    del self._done[next(iter(self._done))]
                answer = json_answer({"certificate": made.decode()}, end=b"\n")
                audit.Audited(reply, who.name, request).send(answer)
            elif isinstance(made, RenewalRefusedError):
                refuse(409 if made.early else 403, str(made))
            else:
                reply.send(message(500, made))

        if request.method != b"POST":
            reply.send(method_not_allowed((b"POST",)))
        elif not (who.host or who.member) or request.header(RELAYED) is not None:
            refuse(403, "only the certificate of a member or a host can be renewed, by itself")
        elif len(request.body) > MOST_BYTES:
            reply.send(message(413, f"a request for a renewal has at most {MOST_BYTES} bytes"))
        else:
            try:
                asked = msgspec.json.decode(request.body, type=Asked)
                found = renewable(asked.certificate, asked.request)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EnrolmentError) as error:
                refuse(400, str(error))
                return
            except RenewalRefusedError as error:
                refuse(403, str(error))
                return
            self._store.confirm(confirmed)

    def _stranger(self, who: Identity, found: Renewable) -> str:
        """Why whoever asks gets nothing; empty if it belongs here."""
        if found.is_own and (found.name, found.key) != (who.user, who.key):
            return "this is the certificate of another host; each renews its own"
        if who.member and who.user not in [member.name for member in self._place.known()]:
            return f"there is no member {who.user!r}{_JOIN_ANEW}"
        if who.host:
            held = self._place.holder(who.host)
            if held is not None and held.key != who.key:
                return f"the machine id {who.host} belongs to another host now{_JOIN_ANEW}"
        return ""

    def _elsewhere(self) -> Response:
        others = [url for member in self._place.known() for url in member.client_urls if url.startswith("https:")]
        told = {"message": "this member does not have the issuing authority; ask one that has it", "ask": others}
        return json_answer(told, 421, end=b"\n")

    def _sign(self, found: Renewable, revoked: Collection[int]) -> bytes | RenewalRefusedError | str:
        """The new certificate. Runs in the thread."""
        directory = self._place.authority
        try:
            if directory is None:
                return "the issuing authority was taken away a moment ago; ask another member"
            return found.renewed(Authority.open(directory), revoked, self._now(), self._done.get(found.serial))
        except RenewalRefusedError as error:
            return error
        except (AuthorityError, TlsFilesError, OSError, ValueError) as error:
            return f"the certificate could not be made: {error}"
