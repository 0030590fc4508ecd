"""Changing the members: what both dialects and operations ask of the store, and how a refusal reads in HTTP."""

import secrets
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from core.addresses import parse
from core.api.store import (
    ChangeRefusedError,
    NoLeaderError,
    NoSpaceError,
    Obstacle,
    Outcome,
    OutcomeUnknownError,
    OverloadedError,
    Store,
)
from core.kv.commands import ChangeMember
from core.raft.members import Standing

_STATUS = {
    Obstacle.NOT_A_MEMBER: 404,
    Obstacle.REMOVED: 410,
    Obstacle.NAME_TAKEN: 409,
    Obstacle.URL_TAKEN: 409,
    Obstacle.NO_URL: 400,
}


def change(store: Store, command: ChangeMember, done: Callable[[Outcome], None]) -> None:
    """Propose a change; `done` gets its outcome, a refusal to queue it included."""
    try:
        store.propose(command, done)
    except (OverloadedError, NoSpaceError, NoLeaderError) as error:
        done(error)


def new_member(name: str, peer_urls: Sequence[str], *, learner: bool) -> ChangeMember:
    """A member with an id that nobody has. ValueError names the URL that is none."""
    return ChangeMember(
        secrets.randbits(63) | 1, Standing.LEARNER if learner else Standing.VOTER, name, checked(peer_urls)
    )


def checked(urls: Sequence[str]) -> tuple[str, ...]:
    """Peer URLs as they are stored: sorted, without a slash at the end. ValueError names what is none."""
    for url in urls:
        if not urlsplit(url).netloc:
            raise ValueError(f"{url!r} is no peer URL; write it like https://10.0.0.4:2380")
    return tuple(sorted({str(parse(url)) for url in urls}))


def status_of(error: Outcome) -> int:
    """The HTTP status for what did not become a change."""
    match error:
        case ChangeRefusedError():
            return _STATUS.get(error.obstacle, 500)
        case OutcomeUnknownError():
            return 504
        case NoLeaderError() | OverloadedError():
            return 503
        case NoSpaceError():
            return 507
    return 500
