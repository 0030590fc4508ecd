"""Whom this member knows, and who of those that call it is let in."""

from collections.abc import Iterable, Mapping

from core.peer.errors import PeerRefusedError
from core.peer.identity import Address, PeerIdentity, hexadecimal
from core.peer.reasons import Reason
from core.peer.upgrade import Hello
from core.tls.identity import Identity


class Register:
    """The other members as of now, and those that were removed."""

    def __init__(self, identity: PeerIdentity) -> None:
        self.identity = identity
        self.members: dict[int, Address] = {}
        self._removed: frozenset[int] = frozenset()

    def set(self, members: Mapping[int, Address], removed: Iterable[int]) -> None:
        """Know these from now on."""
        self.members = dict(members)
        self._removed = frozenset(removed) - members.keys()

    def judge(self, hello: Hello, certificate: Identity | None) -> int:
        """The version of the protocol to speak with who says this; PeerRefusedError if it is not let in.

        Without a certificate (plain connections on loopback) its word is taken.
        """
        mine = self.identity
        protocol = min(mine.protocols[1], hello.protocols[1])
        if protocol < max(mine.protocols[0], hello.protocols[0]):
            older = "older" if hello.protocols[1] < mine.protocols[0] else "newer"
            raise PeerRefusedError(
                Reason.PROTOCOL,
                f"member {hello.name!r} speaks versions {_range(hello.protocols)} of the protocol between members,"
                f" {older} than {_range(mine.protocols)}, which {mine.name!r} speaks; upgrade one version at a time",
            )
        if hello.cluster != mine.cluster:
            raise PeerRefusedError(
                Reason.WRONG_CLUSTER,
                f"member {hello.name!r} belongs to cluster {hexadecimal(hello.cluster)},"
                f" {mine.name!r} to cluster {hexadecimal(mine.cluster)}; check the peer URLs and the data directory",
            )
        if hello.receiver != mine.member:
            raise PeerRefusedError(
                Reason.WRONG_MEMBER,
                f"member {hexadecimal(hello.receiver)} is called, but this is {mine.name!r},"
                f" member {hexadecimal(mine.member)}; check the peer URLs of both",
            )
        self._judge_sender(hello, certificate)
        return protocol

    def _judge_sender(self, hello: Hello, certificate: Identity | None) -> None:
        sender = hexadecimal(hello.sender)
        address = self.members.get(hello.sender)
        if hello.sender == self.identity.member:
            raise PeerRefusedError(Reason.WRONG_MEMBER, f"{sender} is the id of {self.identity.name!r} itself")
        if address is None and hello.sender in self._removed:
            raise PeerRefusedError(
                Reason.REMOVED,
                f"member {sender} ({hello.name!r}) was removed from the cluster; to come back it must be added as a"
                " new member, with an empty data directory",
            )
        if address is None:
            raise PeerRefusedError(Reason.UNKNOWN_MEMBER, f"member {sender} ({hello.name!r}) is not in the cluster")
        self.check_name(hello, certificate)

    def check_name(self, hello: Hello, certificate: Identity | None) -> None:
        """Whether a known member may call itself as it does; PeerRefusedError if not.

        A member that was added by its URL alone has no name here until it is told: it may have any name that no other
        member has, and its certificate must say the same.
        """
        name, expected = hello.name, self.members[hello.sender].name
        sender = hexadecimal(hello.sender)
        why = ""
        if expected and name != expected:
            why = f"member {sender} is {expected!r} here, but calls itself {name!r}"
        elif not expected and self._is_taken(name):
            why = f"member {sender} calls itself {name!r}, and so is another member called; give each a name of its own"
        elif certificate is not None and certificate.name != name:
            why = f"member {sender} is {name!r}, but the certificate shown is that of {certificate.name!r}"
        if why:
            raise PeerRefusedError(Reason.WRONG_NAME, why)

    def _is_taken(self, name: str) -> bool:
        return name == self.identity.name or any(member.name == name for member in self.members.values())


def _range(protocols: tuple[int, int]) -> str:
    return str(protocols[0]) if protocols[0] == protocols[1] else f"{protocols[0]} to {protocols[1]}"
