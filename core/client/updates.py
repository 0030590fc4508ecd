"""The updater of the host whose node is asked, over its unix socket or as an operator."""

from typing import TypeVar

import msgspec

from core.client.errors import StrangeAnswerError
from core.client.transport import CALL_SECONDS, Transport
from core.client.tree import refusal

PATH = "/corenode/host/update"
CHECK_SECONDS = 120.0
"""For what has the cluster asked, with all its metadata."""
T = TypeVar("T")


class SlotNow(msgspec.Struct, frozen=True):
    """One of the two."""

    slot: str
    version: str
    """Empty: nobody knows."""
    good: bool
    tries: int
    next: bool
    in_use: bool


class UpdateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a host fares. Sizes in bytes, times in Unix seconds."""

    off: str = ""
    """Why nothing is updated on this host; then the rest says nothing."""
    group: str = ""
    strategy: str = ""
    disk: str = ""
    product: str = ""
    version: str = ""
    slot: str = ""
    step: str = ""
    stage: str = ""
    since: int = 0
    wanted: str = ""
    by_hand: bool = False
    done: int = 0
    total: int = 0
    why: str = ""
    """What it waits for, or what went wrong last."""
    offer: str = ""
    """The version that the cluster lets this host have now."""
    cluster_known: bool = False
    """Whether the cluster was heard since the node began."""
    slots: tuple[SlotNow, ...] = ()


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What the cluster serves for a host, as far as it is signed."""

    product: str
    version: str
    """What runs."""
    offer: str
    newer: tuple[str, ...]
    releases: tuple[str, ...]
    """Versions, oldest first."""
    root: int
    """Version of the root of trust."""
    expires: int
    """When what is signed has to be signed anew, at the latest."""


class Begun(msgspec.Struct, frozen=True):
    """What an operator asked for is under way."""

    version: str


class HostUpdates:
    """ClientError from each; RefusedError with the reason for what cannot be done."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def status(self) -> UpdateStatus:
        """How it fares."""
        return await self._call("GET", "", UpdateStatus)

    async def check(self) -> Served:
        """Have it look at what is served."""
        return await self._call("POST", "/check", Served, seconds=CHECK_SECONDS, repeatable=True)

    async def apply(self, version: str, *, now: bool) -> str:
        """Have it install a version (empty: the newest), or restart for the one it has; which. It goes on by itself."""
        body = msgspec.json.encode({"version": version, "now": now})
        return (await self._call("POST", "/apply", Begun, body, CHECK_SECONDS)).version

    async def _call(
        self,
        method: str,
        what: str,
        kind: type[T],
        body: bytes = b"",
        seconds: float = CALL_SECONDS,
        *,
        repeatable: bool | None = None,
    ) -> T:
        answer = await self._transport.call(method, PATH + what, body, seconds=seconds, repeatable=repeatable)
        if answer.status != 200:
            raise refusal(answer)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer does not say how this host's updates are: {error}") from None
