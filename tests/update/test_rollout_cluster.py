"""A rollout on three real members, from the operator's verbs to hosts that follow with their own certificates."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trio

from core.client import Put, Store, connect
from core.client.errors import ClientError
from core.tls.identity import Role
from core.update import keys
from core.update.records import Group, Offer, Report, decode, encode
from tests.ops.clusters import PATIENCE, TlsCluster

pytestmark = pytest.mark.slow


class Rollout:
    """The cluster, its operator, and hosts of two groups."""

    def __init__(self, cluster: TlsCluster) -> None:
        self.cluster = cluster
        self.under_way: set[str] = set()
        self.most = 0
        """Hosts of the group `web` that were under way at the same time."""
        self.steps: dict[str, list[str]] = {}
        self.failing: set[str] = set()
        """Hosts that will not come up with 2.0."""

    def store(self, certificate: Path) -> Store:
        key = certificate.with_suffix(".key")
        urls = ",".join(self.cluster.clients.values())
        return connect(urls, cacert=self.cluster.env["CORENODE_CACERT"], cert=certificate, key=key)

    @property
    def admin(self) -> Store:
        return self.store(Path(self.cluster.env["CORENODE_CERT"]))

    async def verb(self, *words: str) -> str:
        done = await trio.to_thread.run_sync(lambda: self.cluster.run(*words))
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    async def host(self, machine: str, group: str) -> None:
        """It reports, and does what it is offered, until cancelled. A member that goes away is none of its business."""
        certificate = self.cluster.workshop.issue(Role.HOST, machine).certificate
        report = Report(group, "os", "x86_64", "1.0")
        self.steps[machine] = ["1.0"]
        while True:
            try:
                async with self.store(certificate) as store, store.lease(10) as lease:
                    start = await store.txn(
                        [], [Put(keys.report(machine), encode(report)), Put(keys.alive(machine), b"", lease.id)]
                    )
                    seen = await store.range(keys.offer(machine))
                    if seen.first is not None:
                        report = await self.follow(store, machine, report, decode(Offer, seen.first.value))
                    async with store.watch(keys.offer(machine), start=max(start.revision, seen.revision) + 1) as watch:
                        async for batch in watch:
                            last = batch.events[-1]
                            if last.kind == "put":
                                report = await self.follow(store, machine, report, decode(Offer, last.kv.value))
            except* ClientError:
                await trio.sleep(0.2)

    async def follow(self, store: Store, machine: str, report: Report, offer: Offer) -> Report:
        if report.version == offer.version or (report.stage == "failed" and report.attempt == offer.attempt):
            return report
        if report.group == "web":
            self.under_way.add(machine)
            self.most = max(self.most, len(self.under_way))
        report = msgspec.structs.replace(report, wanted=offer.version, attempt=offer.attempt, error="")
        for stage in ("fetching", "rebooting", "proving"):
            await store.put(keys.report(machine), encode(msgspec.structs.replace(report, stage=stage)))
        if machine in self.failing and offer.version == "2.0":
            report = msgspec.structs.replace(report, stage="failed", error="no link")
        else:
            report = msgspec.structs.replace(report, stage="idle", version=offer.version)
            self.steps[machine].append(offer.version)
        self.under_way.discard(machine)
        await store.put(keys.report(machine), encode(report))
        return report

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        with trio.move_on_after(PATIENCE) as patience:
            while not condition():  # noqa: ASYNC110 (hosts and members of other processes change it)
                await trio.sleep(0.05)
        assert not patience.cancelled_caught, f"not in time: {what}; {self.steps}"

    async def paused(self) -> str:
        async with self.admin as store:
            while True:
                found = decode(Group, await store.get(keys.group("web")) or b"")
                if found.paused:
                    return found.why
                await trio.sleep(0.1)

    async def offered(self, machine: str) -> bool:
        async with self.admin as store:
            return await store.get(keys.offer(machine)) is not None

    async def conductor(self) -> str:
        async with self.admin as store:
            leader = await store.election(keys.LEADER).leader()
            return "" if leader is None else leader.value.decode()


WEB = [f"{letter * 31}0" for letter in "abcd"]
OTHER = "e" * 32


async def _rollout(cluster: TlsCluster) -> None:
    it = Rollout(cluster)
    (cluster.home / "file").write_bytes(b"an image " * 5000)
    for version in ("1.5", "2.0"):
        await it.verb("image", "package", "file", "--product", "os", "--version", version)
    await it.verb("update", "channel", "set", "beta", "--product", "os", "--version", "2.0", "--floor", "1.5")
    later = (datetime.now(UTC) + timedelta(hours=12)).strftime("%H:%M")
    await it.verb("update", "group", "set", "web", "--channel", "stable", "--at-once", "1", "--window", later, "1h")
    await it.verb("update", "group", "set", "other", "--channel", "beta", "--at-once", "4")
    async with trio.open_nursery() as nursery:
        for machine in WEB:
            nursery.start_soon(it.host, machine, "web")
        await it.until(lambda: len(it.steps) == len(WEB), "hosts")
        await it.verb("update", "channel", "promote", "beta", "stable")
        # Another group updates to its end meanwhile; this one is outside its hours.
        nursery.start_soon(it.host, OTHER, "other")
        await it.until(lambda: it.steps.get(OTHER, [])[-1:] == ["2.0"], "the other group")
        assert not [machine for machine in WEB if await it.offered(machine)]
        it.failing = {WEB[1]}
        await it.verb("update", "group", "set", "web", "--any-time")
        with trio.fail_after(PATIENCE):
            assert "no link" in await it.paused()
        shown = await it.verb("update", "channel", "show", "stable")
        assert "group web: paused (1 failed" in shown
        assert f"{WEB[1]} failed to reach 2.0: no link" in shown
        await it.until(lambda: not it.under_way, "nobody is under way")
        before = {machine: list(steps) for machine, steps in it.steps.items()}
        # While the group is paused the conductor dies; the next one knows no more than the store, and holds as well.
        dead = await it.conductor()
        cluster.kill(dead)
        with trio.fail_after(PATIENCE):
            while await it.conductor() in ("", dead):  # noqa: ASYNC110 (it is elected elsewhere)
                await trio.sleep(0.2)
        assert {machine: list(steps) for machine, steps in it.steps.items()} == before
        it.failing = set()
        await it.verb("update", "group", "resume", "web")
        await it.until(lambda: all(it.steps[machine][-1] == "2.0" for machine in WEB), "all are there")
        nursery.cancel_scope.cancel()
    assert all(it.steps[machine] == ["1.0", "1.5", "2.0"] for machine in (*WEB, OTHER)), "no floor was skipped"
    assert it.most == 1, "one at a time"
    found = json.loads(await it.verb("update", "group", "show", "web", "-o", "json"))
    assert (found["group"]["attempt"], found["group"].get("paused", False)) == (2, False)


def test_from_beta_to_stable_in_turns_through_a_failure_and_a_dead_conductor(tmp_path: Path) -> None:
    with TlsCluster(tmp_path, "n1", "n2", "n3") as cluster:
        trio.run(_rollout, cluster)
