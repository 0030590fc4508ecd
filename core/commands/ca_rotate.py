"""`corenode ca rotate`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from core.commands import output
from core.commands.ca import directory_option, explained, passphrase_option, read_passphrase, with_passphrase
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.operations import Member
    from core.client.transport import Transport
    from core.tls.rotation import Rotation


@click.command()
@directory_option
@click.option("--finish", is_flag=True, help="End it: the old root is trusted no longer.")
@click.option("--force", is_flag=True, help="With --finish: cut off whoever is not ready.")
@passphrase_option
@connection_options
def command(directory: Path, finish: bool, force: bool, passphrase_file: Path | None, connection: Connection) -> None:
    """Let a new root take over, while the cluster goes on. Needs the old root's key, and replaces it.

    Everything issued from then on is good for whoever trusts the old root, the new one or both, and what was issued
    before stays good. DIR/ca.crt has both roots: copy it to every node and client, and renew the certificates, in any
    order. Nodes take both without a restart. Then --finish asks all nodes, lists who would be cut off, and if that is
    nobody takes the old root out of DIR/ca.crt. `ca show` says how far it is. Interrupted, it can be run again.

    --finish talks to nodes: it needs the node's unix socket or a certificate of an admin (or reader, who does not see
    what is revoked).

    \b
    Examples:
      corenode ca rotate --dir ca
      corenode ca renew --dir ca certs/node1.crt certs/alice.crt
      corenode ca rotate --dir ca --finish
    """
    if force and not finish:
        raise click.UsageError("--force belongs to --finish.")
    with explained():
        if finish:
            _finish(directory, force, connection)
        else:
            _begin(directory, passphrase_file)


def _begin(directory: Path, passphrase_file: Path | None) -> None:
    from core.tls.authority import ROOT_KEY
    from core.tls.identity import identity_of
    from core.tls.rotation import begin, under_way

    if not (directory / ROOT_KEY).exists():
        raise Failure(f"There is no root key in {directory}: no {ROOT_KEY}. Bring it there from where it is kept, "
                      "or name the authority with --dir.")  # fmt: skip
    begun = with_passphrase(lambda secret: begin(directory, secret), read_passphrase(passphrase_file))
    rotation = under_way(directory)
    if rotation is None:
        raise Failure("Another command has just finished this rotation.")
    new, old = identity_of(rotation.new).name, identity_of(rotation.old).name
    if begun:
        output.note(f"{directory / 'ca.crt'} has both roots now: {new!r}, and behind it {old!r}.")
    else:
        output.note(f"A rotation is under way since {rotation.begun:%Y-%m-%d %H:%M} UTC, from {old!r} to {new!r}.")
    output.note(
        f"Next, in any order: copy {directory / 'ca.crt'} to every node and client, and renew certificates:\n"
        f"  corenode ca renew --dir {directory} FILE...\n"
        f"Then: corenode ca rotate --dir {directory} --finish"
    )


class _Row(NamedTuple):
    """Who would be cut off, why, and what to do."""

    who: str
    why: str
    remedy: str


class _Answer(NamedTuple):
    """What a node says of itself, of its cluster and of certificates."""

    status: dict[str, Any]
    members: "tuple[Member, ...]"
    revoked: frozenset[int]


class _Nodes(NamedTuple):
    """What came of asking all of them."""

    rows: list[_Row]
    keys: set[str]
    """Of the certificates they show: what they have renewed by themselves is not on our record."""
    revoked: frozenset[int]


def _finish(directory: Path, force: bool, connection: Connection) -> None:
    from core.tls.identity import identity_of
    from core.tls.rotation import finish, outstanding, under_way

    rotation = under_way(directory)
    if rotation is None:
        raise Failure(f"No rotation is under way in {directory}. Begin one: corenode ca rotate --dir {directory}")
    rows, keys, revoked = _ask_nodes(rotation, connection, directory)
    for certificate in outstanding(directory, rotation, keys, revoked):
        identity = identity_of(certificate)
        who = f"{identity.role or 'certificate'} {identity.name}, serial {identity.serial:x}"
        why = f"chains only to the old root, valid until {certificate.not_valid_after_utc:%Y-%m-%d}"
        rows.append(_Row(who, why, "ca renew FILE, or ca revoke"))
    if rows:
        output.table(("WHO", "WHY", "WHAT TO DO"), rows)
    if rows and not force:
        raise Failure("The old root stays, for those above still need it. Do what is said there and repeat this, "
                      "or cut them off with --force.")  # fmt: skip
    finish(directory)
    if rows:
        output.note("The above are cut off.")
    output.note(
        f"{directory / 'ca.crt'} has only {identity_of(rotation.new).name!r} now. Copy it to every node and client: "
        "until they have it, they go on trusting the old root."
    )


def _ask_nodes(rotation: "Rotation", connection: Connection, directory: Path) -> _Nodes:
    """First the endpoints, then those members of the cluster that were not among them."""
    from core.client.endpoints import parse
    from core.client.errors import ClientError
    from core.commands.survey import ask_each, reason, survey

    ask = partial(_ask, connection.timeout)
    answers = survey(connection, ask)
    good = [answer for _, answer in answers if not isinstance(answer, ClientError)]
    known = {answer.status.get("member_id") for answer in good}
    others = {member.id: member for answer in good for member in answer.members if member.id not in known}
    found = _Nodes([], set(), frozenset().union(*(answer.revoked for answer in good)))
    targets = []
    for member in others.values():
        try:
            ways = [parse(url) for url in member.client_urls]
        except ValueError as error:
            found.rows.append(_Row(f"member {member.id}", f"cannot be asked: {error}", "reach it with --endpoints"))
            continue
        if ways:
            targets.append((member.name or member.id, ways))
        else:
            found.rows.append(_Row(f"member {member.id}", "has not started yet", "start it, or remove it"))
    for who, answer in [*answers, *ask_each(connection, targets, ask)]:
        if isinstance(answer, ClientError):
            why = f"cannot be asked: {reason(answer)}"
            found.rows.append(_Row(f"node at {who}", why, "start it, or reach it with --endpoints, --cert"))
        else:
            found.rows.extend(_judge(who, answer.status, rotation, directory, found.keys))
    return found


async def _ask(seconds: float, transport: "Transport") -> _Answer:
    from core.client.errors import RefusedError
    from core.client.operations import Operations

    operations = Operations(transport, seconds)
    status, members = await operations.status(), await operations.members()
    try:
        revoked = await operations.revoked()
    except RefusedError:  # for admins only; a reader then sees revoked certificates among those to be renewed
        revoked = frozenset()
    return _Answer(status, members, revoked)


def _judge(who: str, status: dict[str, Any], rotation: "Rotation", directory: Path, keys: set[str]) -> Iterator[_Row]:
    """Why a node would be cut off; the key of its certificate goes to `keys`."""
    import msgspec

    from core.tls.rotation import chains_only_to_old, trusts_only_old
    from core.tls.shown import Shown

    who = f"node {status.get('name', '')} at {who}"
    if "tls" not in status:
        yield _Row(who, "does not say what it trusts: it is of an older version", "update it")
        return
    for part, setting, whom in (
        ("tls", "trusted-ca-file", ""),
        ("peer_tls", "peer-trusted-ca-file", " among members"),
    ):
        try:
            shown = msgspec.convert(status.get(part), Shown | None)
        except msgspec.ValidationError as error:
            yield _Row(who, f"says what it trusts in a form not known here: {error}", "use its version of this program")
            return
        if shown is None:
            continue
        keys.add(shown.certificate.key_id)
        if trusts_only_old(shown, rotation):
            yield _Row(who, f"trusts only the old root{whom}", f"copy {directory / 'ca.crt'} to its {setting}")
        if chains_only_to_old(shown, rotation):
            why = f"shows {shown.certificate.name}{whom}, which chains only to the old root"
            yield _Row(who, why, "ca renew FILE")
