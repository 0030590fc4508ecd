"""`/v3/cluster/member/...`, and what it asks about the cluster."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from core.api.http.message import Handler
from core.api.v2 import cluster
from core.api.v2.cluster import Member
from core.api.v3.calls import Call, Context, Unary
from core.api.v3.encoding import Int64, Message, uint64
from core.api.v3.errors import Code, RpcError, etcd, invalid
from core.api.v3.header import reply_body
from core.kv.access import Office


class WhyNot(Enum):
    """Why the members stay as they are: gRPC's code and etcd's words."""

    NOT_FOUND = (Code.NOT_FOUND, "member not found")
    EXISTS = (Code.FAILED_PRECONDITION, "member ID already exist")
    URLS_EXIST = (Code.FAILED_PRECONDITION, "Peer URLs already exists")
    UNHEALTHY = (Code.UNAVAILABLE, "unhealthy cluster")
    NOT_ENOUGH = (Code.FAILED_PRECONDITION, "re-configuration failed due to not enough started members")
    NO_LEARNER = (Code.FAILED_PRECONDITION, "can only promote a learner member")
    BEHIND = (Code.FAILED_PRECONDITION, "can only promote a learner member which is in sync with leader")
    TOO_MANY_LEARNERS = (Code.FAILED_PRECONDITION, "too many learner members in cluster")
    NO_LEADER = (Code.UNAVAILABLE, "no leader")
    NOT_LEADER = (Code.FAILED_PRECONDITION, "not leader")
    BAD_TRANSFEREE = (Code.FAILED_PRECONDITION, "bad leader transferee")
    UNKNOWN = (Code.DEADLINE_EXCEEDED, "request timed out, the outcome is unknown")


Changed = Callable[[Member | WhyNot | None], None]
"""Called once with the member as it is now (None: it is gone), or why nothing changed."""


class Cluster(cluster.Cluster, Protocol):
    """The cluster as this node sees it, and how its members change. Ids are hexadecimal. Declared here by its consumer;
    the daemon fulfils it."""

    @property
    def learners(self) -> Sequence[str]:
        """The ids of the members without a vote."""
        ...

    def add_member(self, peer_urls: Sequence[str], *, learner: bool, done: Changed) -> None: ...

    def remove_member(self, member: str, done: Changed) -> None: ...

    def update_member(self, member: str, peer_urls: Sequence[str], done: Changed) -> None: ...

    def promote_member(self, member: str, done: Changed) -> None: ...

    def transfer_lead(self, member: str, done: Changed) -> None:
        """Let another member lead; `done` gets that member when it does."""
        ...


class MemberListRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """List the members; `linearizable` asks the leader."""

    linearizable: bool = False


class MemberAddRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Add a member."""

    peerURLs: tuple[str, ...] = ()  # noqa: N815 - etcd's name
    isLearner: bool = False  # noqa: N815


class MemberRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Remove or promote a member."""

    ID: Int64 = 0


class MemberUpdateRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Reach a member at other URLs from now on."""

    ID: Int64 = 0
    peerURLs: tuple[str, ...] = ()  # noqa: N815 - etcd's name


def cluster_handlers(context: Context, cluster: Cluster) -> dict[str, Handler]:
    """The handlers by path."""
    members = _Members(context, cluster)
    return {
        "cluster/member/list": Unary(context, MemberListRequest, members.list_all),
        "cluster/member/add": Unary(context, MemberAddRequest, members.add),
        "cluster/member/remove": Unary(context, MemberRequest, members.remove),
        "cluster/member/update": Unary(context, MemberUpdateRequest, members.update),
        "cluster/member/promote": Unary(context, MemberRequest, members.promote),
    }


class _Members:
    """The handlers."""

    def __init__(self, context: Context, cluster: Cluster) -> None:
        self._header = context.header
        self._cluster = cluster

    def list_all(self, request: MemberListRequest, call: Call) -> None:
        """List the members."""
        if request.linearizable:
            call.confirmed(partial(self._send, call, None))
        else:
            self._send(call, None)

    def add(self, request: MemberAddRequest, call: Call) -> None:
        """Add a member."""
        call.require(Office.ADMIN)
        urls = _checked(request.peerURLs)
        self._cluster.add_member(urls, learner=request.isLearner, done=partial(self._changed, call, True))

    def remove(self, request: MemberRequest, call: Call) -> None:
        """Remove a member."""
        call.require(Office.ADMIN)
        self._cluster.remove_member(_hex(request.ID), partial(self._changed, call, False))

    def update(self, request: MemberUpdateRequest, call: Call) -> None:
        """Change a member's URLs."""
        call.require(Office.ADMIN)
        urls = _checked(request.peerURLs)
        self._cluster.update_member(_hex(request.ID), urls, partial(self._changed, call, False))

    def promote(self, request: MemberRequest, call: Call) -> None:
        """Give a learner a vote."""
        call.require(Office.ADMIN)
        self._cluster.promote_member(_hex(request.ID), partial(self._changed, call, False))

    def _changed(self, call: Call, shown: bool, outcome: Member | WhyNot | None) -> None:
        if isinstance(outcome, WhyNot):
            call.fail(why_not(outcome))
        else:
            self._send(call, outcome if shown else None)

    def _send(self, call: Call, added: Member | None) -> None:
        fields: dict[str, Any] = {}
        if added is not None:
            fields["member"] = self._form(added)
        fields["members"] = [self._form(member) for member in self._cluster.members]
        call.send(reply_body(self._header.without_revision(), fields))

    def _form(self, member: Member) -> dict[str, Any]:
        form = {
            "ID": str(int(member.id, 16)),
            "name": member.name,
            "peerURLs": member.peer_urls,
            "clientURLs": member.client_urls,
            "isLearner": member.id in self._cluster.learners,
        }
        return {name: value for name, value in form.items() if value}


def why_not(outcome: WhyNot) -> RpcError:
    """The error that says why the members stay as they are."""
    return etcd(*outcome.value)


def _hex(member: Int64) -> str:
    return f"{uint64(member):x}"


def _checked(urls: tuple[str, ...]) -> tuple[str, ...]:
    """URLs that a member can be reached at; RpcError 3."""
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port and parts.path in ("", "/")
        except ValueError:
            good = False
        if not good:
            raise invalid("given member URLs are invalid")
    if not urls:
        raise invalid("given member URLs are invalid")
    return urls
