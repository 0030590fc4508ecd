"""`/health`, `/livez` and `/readyz`, in etcd's words."""

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import parse_qs

from core.api.http.message import Reply, Request, Response
from core.api.plain import TEXT, json_answer, method_not_allowed, not_found
from core.api.store import DamagedError, ProposalError, Store
from core.kv import paths

LINEARIZABLE = "linearizable_read"
LIVEZ = b"/livez"
READYZ = b"/readyz"


class Health(Protocol):
    """The node's own view of its health. The daemon fulfils it."""

    @property
    def alarms(self) -> Sequence[str]:
        """What is raised now: `NOSPACE`, `CORRUPT`."""
        ...

    @property
    def has_leader(self) -> bool: ...

    @property
    def learner(self) -> bool:
        """Whether this member has no vote yet."""
        ...


class HealthHandler:
    """`/health`: 200 if reads and writes are served, else 503 with the first reason.

    `exclude=NOSPACE` overlooks an alarm; `serializable=true` asks about this node alone.
    """

    def __init__(self, store: Store, health: Health) -> None:
        self._store = store
        self._health = health

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method != b"GET":
            reply.send(method_not_allowed((b"GET",)))
            return
        query = _query(request)
        excluded = query.get("exclude", [])
        local = query.get("serializable", [""])[0] == "true"
        raised = [alarm for alarm in self._health.alarms if alarm not in excluded]
        if raised:
            reply.send(_health(f"ALARM {raised[0]}"))
        elif local:
            reply.send(_health(_local_read(self._store), prefix="RANGE ERROR:"))
        elif not self._health.has_leader:
            reply.send(_health("RAFT NO LEADER"))
        else:
            self._store.confirm(lambda error: reply.send(_health(_why(error), prefix="RANGE ERROR:")))


def _health(reason: str, prefix: str = "") -> Response:
    if reason:
        return json_answer({"health": "false", "reason": prefix + reason}, 503, end=b"\n")
    return json_answer({"health": "true", "reason": ""})


class Checks:
    """`/livez` or `/readyz`: named checks, all together or one at a time below the path."""

    def __init__(self, path: bytes, store: Store, checks: dict[str, Callable[[], str]]) -> None:
        """A check gives the reason why it failed, or an empty string. LINEARIZABLE is answered by the store."""
        self._path = path
        self._store = store
        self._checks = checks

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method != b"GET":
            reply.send(method_not_allowed((b"GET",)))
            return
        query = _query(request)
        name = request.path[len(self._path) :].removeprefix(b"/").decode(errors="replace")
        if name and name not in self._checks:
            reply.send(not_found())
            return
        excluded = query.get("exclude", [])
        names = [name] if name else [each for each in self._checks if each not in excluded]
        verbose = "verbose" in query
        reasons = {each: self._checks[each]() for each in names}
        if LINEARIZABLE not in reasons:
            reply.send(_verdict(reasons, verbose=verbose))
            return

        def confirmed(error: ProposalError | None) -> None:
            reasons[LINEARIZABLE] = _why(error)
            reply.send(_verdict(reasons, verbose=verbose))

        self._store.confirm(confirmed)


def livez(store: Store) -> Checks:
    """Is the process able to serve at all? If not, restart it."""
    return Checks(LIVEZ, store, {"serializable_read": lambda: _local_read(store)})


def readyz(store: Store, health: Health) -> Checks:
    """Should clients be sent here?"""
    return Checks(
        READYZ,
        store,
        {
            "data_corruption": lambda: "alarm activated: CORRUPT" if "CORRUPT" in health.alarms else "",
            "serializable_read": lambda: _local_read(store),
            LINEARIZABLE: lambda: "",
            "non_learner": lambda: "not supported for learner" if health.learner else "",
        },
    )


def _verdict(reasons: dict[str, str], *, verbose: bool) -> Response:
    lines = "".join(f"[-]{name} failed: {why}\n" if why else f"[+]{name} ok\n" for name, why in reasons.items())
    if any(reasons.values()):
        return Response(503, TEXT, lines.encode() + b"\n")
    return Response(200, TEXT, (lines if verbose else "").encode() + b"ok\n")


def _local_read(store: Store) -> str:
    try:
        store.children(paths.ROOT, limit=1)
    except DamagedError as error:  # starting again mends nothing; the alarm says it to whoever can
        store.damage.met(error)
    except Exception as error:  # whatever it is, telling it is what the check is for
        return _why(error)
    return ""


def _why(error: Exception | None) -> str:
    return "" if error is None else str(error) or type(error).__name__


def _query(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.query.decode("latin-1"), keep_blank_values=True)
