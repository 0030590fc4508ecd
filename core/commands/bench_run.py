"""One run of `corenode bench`: look, fill, load, clean up."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import trio

from core.client import Store, from_key, prefix
from core.client.errors import ClientError, RefusedError
from core.client.login import Login, header
from core.client.tree import Tree
from core.commands import output
from core.commands.bench_load import Limit, Tally, Turns, Ways, load
from core.commands.bench_requests import PUT, V2, WATCH, Plan, Requests
from core.commands.bench_watch import Watching
from core.commands.connection import Connection, basic
from core.commands.failure import Failure

CLEAN_UP_SECONDS = 30.0
_FILL_CONNECTIONS = 16
_PROGRESS_SECONDS = 0.1


@dataclass(frozen=True)
class Settings:
    """What the options said."""

    plan: Plan
    limit: Limit
    connections: int
    ours: str
    """The path below which all keys of this verb are, of this run and of others."""
    yes: bool
    """Whether the cluster may hold keys of others."""


class Run:
    """One run against the endpoints of a connection, whose password is known by now."""

    def __init__(self, connection: Connection, store: Store, settings: Settings) -> None:
        self._connection, self._store, self._settings = connection, store, settings
        self._found = connection.find()
        self.endpoints = [endpoint.text for endpoint in self._found]
        self._tls = connection.tls() if any(endpoint.secure for endpoint in self._found) else None
        self._ways = Ways(self._found, self._tls)
        self.tally = Tally()
        """Of the load; its seconds are 0 as long as there was none."""

    async def measure(self) -> None:
        """All of it. ClientError, Failure; cancelled, it deletes its keys first."""
        plan = self._settings.plan
        if not self._settings.yes:
            await self._refuse_if_used()
        requests = Requests(plan, await self._headers())
        try:
            if plan.operation not in (PUT, WATCH):
                await self._fill(requests)
            await self._load(requests)
        finally:
            with trio.move_on_after(CLEAN_UP_SECONDS, shield=True) as cleaning:
                await self._clean_up()
            if cleaning.cancelled_caught:
                output.note(f"Deleting the keys took too long; what is left is below {plan.prefix}.")

    async def _refuse_if_used(self) -> None:
        """Failure if the cluster holds keys of others."""
        if self._settings.plan.dialect == V2:
            async with self._connection.open() as transport:
                try:
                    root = (await Tree(transport, self._connection.timeout).get("/")).node
                except RefusedError as error:
                    if error.status == 404 and not error.code:
                        raise Failure("There is no v2 dialect (etcd has it with --enable-v2): try v3.") from None
                    raise
            others = sum(1 for node in root.nodes or () if node.key != self._settings.ours)
        else:
            everything = await self._store.range(from_key(b"\0"), count_only=True)
            own = await self._store.range(prefix(self._settings.ours.encode() + b"/"), count_only=True)
            others = everything.count - own.count
        if others:
            raise Failure(
                f"The cluster holds keys of others ({others:,}): it may be in use, and a load slows whoever uses it.\n"
                "Repeat it with --yes if that is meant."
            )

    async def _headers(self) -> Sequence[tuple[bytes, bytes]]:
        """What says who we are."""
        user, password = self._connection.credentials() or (None, "")
        if user is None:
            return ()
        if self._settings.plan.dialect == V2:
            return ((b"Authorization", basic(user, password).encode("latin-1")),)
        async with self._connection.open() as transport:
            return header(await Login(transport, user, password, self._connection.timeout).token())

    async def _fill(self, requests: Requests) -> None:
        """Write every key once. Failure if one cannot be written."""
        tally, following = Tally(), iter(writes := list(requests.fill()))
        limit, patience = Limit(len(writes), None, None), self._connection.timeout
        async with progress("filling", limit, tally):
            await load(self._ways, patience, _FILL_CONNECTIONS, Turns(limit), lambda: next(following, None), tally)
        if tally.failed or tally.unknown:
            ((why, count),) = (tally.failed + tally.unknown).most_common(1)
            raise Failure(f"The keys to be read could not be written: {count:,} times {why}.\nNothing was measured.")

    async def _load(self, requests: Requests) -> None:
        """What is measured."""
        settings, tally = self._settings, self.tally
        turns, patience = Turns(settings.limit), self._connection.timeout
        async with progress(settings.plan.operation, settings.limit, tally):
            if settings.plan.operation == WATCH:
                await Watching(self._ways, patience, requests, tally).run(settings.connections, turns)
            else:
                await load(self._ways, patience, settings.connections, turns, requests.next, tally)

    async def _clean_up(self) -> None:
        """Delete what was written; a note if that fails."""
        plan = self._settings.plan
        try:
            if plan.dialect != V2:
                await self._store.delete(prefix(plan.prefix.encode() + b"/"))
            async with self._connection.open() as transport:
                # Keys of v3 stand in directories as well, where the server has these; it refuses what is not there.
                tree = Tree(transport, CLEAN_UP_SECONDS)
                with suppress(RefusedError):
                    await tree.delete(plan.prefix, recursive=True)
                    await tree.delete(self._settings.ours, directory=True)
        except ClientError as error:
            output.note(f"The keys below {plan.prefix} could not be deleted: {error}.")


@asynccontextmanager
async def progress(what: str, limit: Limit, tally: Tally) -> AsyncIterator[None]:
    """A bar on standard error while this lasts, if that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[done]}"))
    begun = trio.current_time()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0, done="")

        async def follow() -> None:
            while True:
                passed = trio.current_time() - begun
                parts = [passed / limit.seconds] if limit.seconds else []
                parts += [(tally.done + tally.failed.total()) / limit.requests] if limit.requests else []
                rate = tally.done / passed if passed else 0.0
                bar.update(task, completed=max(parts, default=0.0), done=f"{tally.done:,}, {rate:,.0f} a second")
                await trio.sleep(_PROGRESS_SECONDS)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            yield
            nursery.cancel_scope.cancel()
