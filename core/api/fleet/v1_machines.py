"""`/machines` of fleet's API v1."""

import re
from collections.abc import Callable, Sequence

import msgspec

from core.api.fleet.answers import Refused
from core.api.fleet.desired import TRIES, Wanted
from core.api.fleet.listing import Listing, cut, page_of
from core.api.fleet.tables import read
from core.api.http.message import Request, Response
from core.api.plain import json_answer
from core.client import Store
from core.sched import keys
from core.sched.records import HostRecord

MOST_CHANGES = 1000
"""Of one PATCH."""
MOST_HOSTS = 100
"""That one PATCH changes: it is one transaction."""
MOST_METADATA = 1000
LONGEST_VALUE = 4096

_PATH = re.compile(r"/([0-9a-f]{32})/metadata/([A-Za-z0-9_.-]{1,200})")


class Machine(msgspec.Struct, frozen=True, omit_defaults=True, rename={"primary_ip": "primaryIP"}):
    """A machine as fleet shows it."""

    id: str = ""
    primary_ip: str = ""
    metadata: dict[str, str] = {}


class MachinePage(msgspec.Struct, frozen=True, omit_defaults=True, rename={"next_page_token": "nextPageToken"}):
    machines: tuple[Machine, ...] = ()
    next_page_token: str = ""


class _Value(msgspec.Struct, frozen=True):
    value: str = ""


class _Change(msgspec.Struct, frozen=True):
    op: str
    path: str
    value: _Value | str | None = None
    """fleet's program wants an object within, its manual shows a plain text."""


class MachinesV1:
    """The handlers."""

    def __init__(self, store: Store, wanted: Wanted) -> None:
        self._store = store
        self._wanted = wanted
        self._machines: Listing[Machine] = Listing(self._all)

    async def list_machines(self, request: Request) -> Response:
        """A page of those that are there."""
        page = page_of(request)
        part, token = cut(await self._machines.items(page), page)
        return json_answer(MachinePage(tuple(part), token))

    async def patch(self, request: Request) -> Response:
        """Change metadata; of machines that are not there as well, for when they come."""
        try:
            changes = msgspec.json.decode(request.body, type=list[_Change])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(400, f"unable to decode body: {error}") from None
        if len(changes) > MOST_CHANGES:
            raise Refused(413, f"{len(changes)} changes at once, and at most {MOST_CHANGES} are possible")
        wanted: dict[str, dict[str, str | None]] = {}
        for change in changes:
            machine, key, value = _checked(change)
            wanted.setdefault(machine, {})[key] = value
        if len(wanted) > MOST_HOSTS:
            raise Refused(413, f"changes of {len(wanted)} machines at once, and at most {MOST_HOSTS} are possible")
        for _ in range(TRIES if wanted else 0):
            if await self._wanted.hosts({machine: _with(found) for machine, found in wanted.items()}) is not None:
                return Response(204, b"", b"")
        if wanted:
            raise Refused(409, "the machines' metadata was changed by others in between; try again")
        return Response(204, b"", b"")

    async def _all(self) -> Sequence[Machine]:
        tables = await read(self._store, keys.MACHINES, keys.HOSTS)
        return [
            Machine(id_, machine.address, tables.metadata(machine)) for id_, machine in sorted(tables.machines.items())
        ]


def _checked(change: _Change) -> tuple[str, str, str | None]:
    if change.op not in ("add", "remove", "replace"):
        raise Refused(400, f"invalid op {change.op[:40]!r}: expect add, remove, or replace")
    found = _PATH.fullmatch(change.path)
    if found is None:
        raise Refused(400, f"malformed path {change.path[:200]!r}: it is /MACHINE-ID/metadata/KEY")
    if change.op == "remove":
        return found[1], found[2], None
    value = change.value.value if isinstance(change.value, _Value) else change.value
    if not value:
        raise Refused(400, "invalid value: add and replace require a value")
    if len(value) > LONGEST_VALUE or not value.isprintable():
        raise Refused(400, f"invalid value: up to {LONGEST_VALUE} printable characters")
    return found[1], found[2], value


def _with(found: dict[str, str | None]) -> Callable[[HostRecord], HostRecord]:
    def change(old: HostRecord) -> HostRecord:
        metadata = {**old.metadata, **found}
        if len(metadata) > MOST_METADATA:
            raise Refused(413, f"a machine has at most {MOST_METADATA} keys of metadata")
        return msgspec.structs.replace(old, metadata=metadata)

    return change
