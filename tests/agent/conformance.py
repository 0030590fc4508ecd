"""What every `Executor` must do, as tests to be inherited: by the supervisor's here, by systemd's inside a host.

A subclass gives the fixture `opener`, which makes one executor more each time it is called, all for the same host and
directory: two of them one after the other are an agent that has started anew.
"""

import hashlib
import os
import signal
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trio

from core.agent.executor import Actual, Executor, ExecutorError

Opener = Callable[[], Executor]
SECONDS = 30.0


def unit(service: str, rest: str = "") -> bytes:
    """A unit's text from the lines of its [Service] section."""
    return f"[Unit]\nDescription=a test\n[Service]\n{textwrap.dedent(service).strip()}\n{rest}".encode()


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


SLEEPER = unit("Type=exec\nExecStart=/bin/sleep 1000")
LASTS = unit("Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true")
STUBBORN = unit(
    """
    ExecStart=/bin/sh -c 'trap "" TERM; echo ignoring; while :; do sleep 1; done'
    TimeoutStopSec=1
    """
)
FAILS = unit("ExecStart=/bin/sh -c 'exit 3'\nRestart=no")


class Watched:
    """An executor, and the last word it gave of each unit. `history` has all of them."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.now: dict[str, Actual] = {}
        self.history: list[Actual] = []
        self._changed = trio.Event()

    async def listen(self) -> None:
        async for actual in self.executor.changes():
            self.take((await self.executor.adopt()).values() if actual is None else [actual])

    def take(self, actuals: Iterable[Actual]) -> None:
        for actual in actuals:
            self.now[actual.name] = actual
            self.history.append(actual)
        self._changed.set()
        self._changed = trio.Event()

    async def wait(self, name: str, holds: Callable[[Actual], bool]) -> Actual:
        """The unit's state as soon as it is so; an AssertionError that tells what it was instead after SECONDS."""
        with trio.move_on_after(SECONDS):
            while name not in self.now or not holds(self.now[name]):
                await self._changed.wait()
            return self.now[name]
        raise AssertionError(f"{name} is {self.now.get(name)}; all that was heard: {self.history}")

    async def wait_for(self, name: str, *states: str) -> Actual:
        """`active/running` and the like, or only `active`."""
        return await self.wait(name, lambda a: a.active in states or f"{a.active}/{a.sub}" in states)

    async def started(self, name: str, text: bytes, *states: str) -> Actual:
        """Loaded, started and so far."""
        await self.executor.load(name, text)
        await self.executor.settle()
        await self.executor.start(name)
        return await self.wait_for(name, *(states or ("active/running",)))


@asynccontextmanager
async def watched(executor: Executor) -> AsyncIterator[Watched]:
    """Open it, adopt, and listen to its changes."""
    async with executor, trio.open_nursery() as nursery:
        seen = Watched(executor)
        seen.take((await executor.adopt()).values())
        nursery.start_soon(seen.listen)
        yield seen
        nursery.cancel_scope.cancel()


async def clear(executor: Executor) -> None:
    """Unload whatever is there."""
    for name in await executor.adopt():
        await executor.unload(name)
    await executor.settle()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def command(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


class Conformance:
    """Inherit from it as `TestSomething`."""

    @pytest.fixture
    def opener(self) -> Opener:
        raise NotImplementedError

    @pytest.fixture
    async def host(self, opener: Opener) -> AsyncIterator[Watched]:
        """One executor, open and with nothing loaded; nothing is left afterwards."""
        async with watched(opener()) as seen:
            await clear(seen.executor)
            seen.now.clear()
            yield seen
            with trio.CancelScope(shield=True, deadline=trio.current_time() + SECONDS):
                await clear(seen.executor)

    async def test_an_empty_host_has_nothing(self, host: Watched) -> None:
        assert await host.executor.adopt() == {}

    async def test_a_loaded_unit_is_there_and_does_not_run(self, host: Watched) -> None:
        await host.executor.load("a.service", SLEEPER)
        await host.executor.settle()
        adopted = await host.executor.adopt()
        assert set(adopted) == {"a.service"}
        actual = adopted["a.service"]
        assert (actual.load, actual.active, actual.sub, actual.pid) == ("loaded", "inactive", "dead", 0)
        assert actual.text == sha256(SLEEPER)

    async def test_text_is_kept_to_the_byte(self, host: Watched) -> None:
        text = SLEEPER + b"# \xc3\xa4 \\\n#  end without newline"
        await host.executor.load("a.service", text)
        await host.executor.settle()
        assert (await host.executor.adopt())["a.service"].text == sha256(text)

    async def test_a_started_unit_runs_and_says_so(self, host: Watched) -> None:
        actual = await host.started("a.service", SLEEPER)
        assert alive(actual.pid)
        assert command(actual.pid) == ["/bin/sleep", "1000"]
        assert (actual.result, actual.restarts, actual.load) == ("", 0, "loaded")
        assert abs(actual.since - time.time()) < 60
        assert (await host.executor.adopt())["a.service"] == actual

    async def test_everything_may_be_asked_twice(self, host: Watched) -> None:
        first = await host.started("a.service", SLEEPER)
        await host.executor.load("a.service", SLEEPER)
        await host.executor.settle()
        await host.executor.start("a.service")
        assert (await host.executor.adopt())["a.service"].pid == first.pid
        await host.executor.stop("a.service")
        await host.executor.stop("a.service")
        await host.executor.unload("a.service")
        await host.executor.unload("a.service")
        await host.executor.settle()
        assert await host.executor.adopt() == {}

    async def test_stop_returns_when_it_is_down_and_it_stays_loaded(self, host: Watched) -> None:
        pid = (await host.started("a.service", SLEEPER)).pid
        await host.executor.stop("a.service")
        assert not alive(pid)
        actual = await host.wait_for("a.service", "inactive/dead")
        assert (actual.load, actual.pid, actual.result) == ("loaded", 0, "")

    async def test_a_check_runs_as_the_unit_does(self, host: Watched) -> None:
        text = unit("Type=exec\nUser=nobody\nEnvironment=WORD=good\nLimitNOFILE=99\nExecStart=/bin/sleep 1000")
        if os.geteuid() != 0:
            text = text.replace(b"User=nobody\n", b"")
        actual = await host.started("a.service", text)
        uid = os.stat(f"/proc/{actual.pid}").st_uid
        script = (
            f'echo "$(id -u) $WORD $(ulimit -n) $MAINPID"; cmp /proc/self/cgroup /proc/{actual.pid}/cgroup && exit 7'
        )
        for each, wanted in (
            (script.partition(";")[0] + "; exit 7", f"{uid} good 99 {actual.pid}"),
            (script, "status 7"),
        ):
            why = await host.executor.check("a.service", ("/bin/sh", "-c", each), SECONDS)
            assert wanted in why, why
        assert "exit status 3" in await host.executor.check("a.service", ("/bin/sh", "-c", "exit 3"), SECONDS)
        assert "no answer" in await host.executor.check("a.service", ("/bin/sleep", "999"), 0.3)
        with pytest.raises(ExecutorError):
            await host.executor.check("none.service", ("/bin/true",), SECONDS)
        assert alive(actual.pid)

    async def test_unload_stops_and_forgets(self, host: Watched) -> None:
        pid = (await host.started("a.service", SLEEPER)).pid
        await host.executor.unload("a.service")
        await host.executor.settle()
        assert not alive(pid)
        assert await host.executor.adopt() == {}

    async def test_a_unit_that_ignores_sigterm_is_killed_after_its_timeout(self, host: Watched) -> None:
        pid = (await host.started("a.service", STUBBORN)).pid
        # It ignores the signal from its first word on.
        async with aclosing(host.executor.logs("a.service", lines=10, follow=True)) as lines:
            async for line in lines:
                if line.strip() == b"ignoring":
                    break
        before = trio.current_time()
        await host.executor.stop("a.service")
        assert trio.current_time() - before > 0.9
        assert not alive(pid)
        actual = await host.wait_for("a.service", "failed/failed")
        assert actual.result == "timeout"
        assert not actual.up

    async def test_a_unit_that_fails_says_why_and_can_be_started_again(self, host: Watched) -> None:
        actual = await host.started("a.service", FAILS, "failed")
        assert (actual.sub, actual.result, actual.pid) == ("failed", "exit-code 3", 0)
        host.now.clear()
        await host.executor.start("a.service")
        assert (await host.wait_for("a.service", "failed")).result == "exit-code 3"

    async def test_a_killed_unit_says_by_what(self, host: Watched) -> None:
        pid = (await host.started("a.service", SLEEPER)).pid
        os.kill(pid, signal.SIGKILL)
        assert (await host.wait_for("a.service", "failed")).result == "signal KILL"

    async def test_what_cannot_be_executed_fails(self, host: Watched) -> None:
        actual = await host.started("a.service", unit("ExecStart=/nowhere/at/all"), "failed")
        assert actual.result == "exit-code 203"

    async def test_a_unit_is_started_again_by_its_own_rule(self, host: Watched) -> None:
        pid = (await host.started("a.service", SLEEPER + b"Restart=always\nRestartSec=0.05\n")).pid
        os.kill(pid, signal.SIGKILL)
        actual = await host.wait("a.service", lambda a: a.active == "active" and a.restarts == 1)
        assert actual.pid not in (0, pid)
        assert actual.result == ""

    async def test_a_unit_that_fails_too_often_stays_down_until_it_is_asked_for_again(self, host: Watched) -> None:
        text = b"[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=2\n" + FAILS.replace(
            b"Restart=no", b"Restart=always"
        )
        await host.started("a.service", text, "failed/failed")
        actual = host.now["a.service"]
        assert actual.result == "start-limit-hit" or actual.result.startswith("exit-code"), actual
        host.now.clear()
        await host.executor.start("a.service")
        await host.wait("a.service", lambda a: a.restarts >= 1 or a.sub == "auto-restart")

    async def test_a_oneshot_that_is_done(self, host: Watched) -> None:
        actual = await host.started("a.service", unit("Type=oneshot\nExecStart=/bin/true"), "inactive/dead")
        assert actual.result == ""
        assert (await host.started("b.service", LASTS, "active/exited")).pid == 0

    async def test_another_text_counts_from_the_next_start(self, host: Watched) -> None:
        pid = (await host.started("a.service", SLEEPER)).pid
        other = unit("Type=exec\nExecStart=/bin/sleep 2000")
        await host.executor.load("a.service", other)
        await host.executor.settle()
        actual = (await host.executor.adopt())["a.service"]
        assert (actual.pid, actual.text, actual.active) == (pid, sha256(other), "active")
        await host.executor.stop("a.service")
        await host.executor.start("a.service")
        actual = await host.wait("a.service", lambda a: a.active == "active" and a.pid not in (0, pid))
        assert command(actual.pid) == ["/bin/sleep", "2000"]

    async def test_reload(self, host: Watched) -> None:
        text = unit(
            """
            ExecStart=/bin/sh -c 'trap "echo told" HUP; echo ready; while :; do sleep 0.1; done'
            ExecReload=/bin/kill -HUP $MAINPID
            """
        )
        pid = (await host.started("a.service", text)).pid
        async with aclosing(host.executor.logs("a.service", lines=10, follow=True)) as lines:
            with trio.fail_after(SECONDS):
                async for line in lines:
                    if line.strip() == b"ready":
                        await host.executor.reload("a.service")
                    if line.strip() == b"told":
                        break
        assert (await host.executor.adopt())["a.service"].pid == pid

    async def test_reload_of_what_knows_none_is_an_error(self, host: Watched) -> None:
        await host.started("a.service", SLEEPER)
        with pytest.raises(ExecutorError, match=r"could not reload a\.service: ."):
            await host.executor.reload("a.service")

    async def test_an_unloaded_unit_cannot_be_started(self, host: Watched) -> None:
        with pytest.raises(ExecutorError, match=r"could not start nowhere\.service: ."):
            await host.executor.start("nowhere.service")

    async def test_a_unit_without_sense_is_no_burden_to_others(self, host: Watched) -> None:
        await host.executor.load("a.service", SLEEPER)
        await host.executor.load("bad.service", b"[Service]\nType=nonsense\nExecStart=not/absolute\n")
        await host.executor.settle()
        with pytest.raises(ExecutorError):
            await host.executor.start("bad.service")
        assert (await host.executor.adopt())["bad.service"].load in ("bad-setting", "error")
        await host.executor.start("a.service")
        await host.wait_for("a.service", "active/running")

    async def test_names_that_would_leave_the_directory_are_refused(self, host: Watched) -> None:
        for name in ("../a.service", "/etc/a.service", ".service", "a\0.service"):
            with pytest.raises(ExecutorError):
                await host.executor.load(name, SLEEPER)
        assert await host.executor.adopt() == {}

    async def test_the_next_agent_finds_it_running(self, host: Watched, opener: Opener) -> None:
        running = await host.started("a.service", SLEEPER)
        failed = await host.started("b.service", FAILS, "failed")
        async with watched(opener()) as second:
            adopted = await second.executor.adopt()
            assert adopted["a.service"] == running
            assert adopted["b.service"] == failed
            os.kill(running.pid, signal.SIGKILL)
            await second.wait_for("a.service", "failed")

    async def test_instances_of_a_template(self, host: Watched) -> None:
        text = unit("Type=exec\nExecStart=/bin/sleep 10%i")
        for name in ("a@1.service", "a@2.service"):
            await host.started(name, text)
        assert [command(host.now[name].pid)[1] for name in ("a@1.service", "a@2.service")] == ["101", "102"]

    async def test_logs(self, host: Watched) -> None:
        text = unit("Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'for i in 1 2 3; do echo line $i; done'")
        await host.started("a.service", text, "active/exited")

        async def written(lines: int) -> list[bytes]:
            async with aclosing(host.executor.logs("a.service", lines=lines, follow=False)) as logs:
                return [line async for line in logs]

        with trio.fail_after(SECONDS):  # until all of it has arrived there
            async with aclosing(host.executor.logs("a.service", lines=100, follow=True)) as logs:
                async for line in logs:
                    if line == b"line 3\n":
                        break
        assert [line for line in await written(100) if line.startswith(b"line ")] == [
            b"line 1\n",
            b"line 2\n",
            b"line 3\n",
        ]
        assert len(await written(2)) == 2
        assert await written(0) == []
        await host.executor.stop("a.service")
        assert b"line 3\n" in await written(100)

    async def test_following_logs_ends_with_the_reader(self, host: Watched) -> None:
        await host.started("a.service", unit("ExecStart=/bin/sh -c 'while :; do echo tick; sleep 0.05; done'"))
        ticks = 0
        with trio.fail_after(SECONDS):
            async with aclosing(host.executor.logs("a.service", lines=0, follow=True)) as logs:
                async for line in logs:
                    assert line.endswith(b"\n")
                    ticks += line == b"tick\n"
                    if ticks == 5:
                        break

    async def test_properties(self, host: Watched) -> None:
        actual = await host.started("a.service", SLEEPER)
        known = await host.executor.properties("a.service")
        assert known["MainPID"] == str(actual.pid)
        assert (known["ActiveState"], known["SubState"]) == ("active", "running")
        assert await host.executor.properties("nowhere.service") == {}

    async def test_listings_while_units_come_and_go(self, host: Watched) -> None:
        async def come_and_go(name: str) -> None:
            for _ in range(5):
                await host.executor.load(name, SLEEPER)
                await host.executor.settle()
                await host.executor.start(name)
                await host.executor.unload(name)

        async with trio.open_nursery() as listing:

            async def list_on() -> None:
                while True:
                    await host.executor.adopt()

            listing.start_soon(list_on)
            async with trio.open_nursery() as nursery:
                for name in ("a.service", "b.service", "c.service"):
                    nursery.start_soon(come_and_go, name)
            listing.cancel_scope.cancel()
        await host.executor.settle()
        assert await host.executor.adopt() == {}

    async def test_many_units_at_once(self, host: Watched) -> None:
        names = [f"many-{i}.service" for i in range(40)]
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(host.executor.load, name, SLEEPER)
        await host.executor.settle()
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(host.executor.start, name)
        for name in names:
            await host.wait_for(name, "active/running")
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(host.executor.unload, name)
        await host.executor.settle()
        assert await host.executor.adopt() == {}
