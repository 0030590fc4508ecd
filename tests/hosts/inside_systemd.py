"""The executor beside the systemd of the machine it runs on; `test_executor` runs this inside a host."""

import subprocess
from pathlib import Path

import pytest
import trio

from core.agent.executor import Actual, Executor, ExecutorError, ExecutorGone
from core.agent.systemd.executor import DIRECTORY, Systemd, booted
from tests.agent.conformance import FAILS, SECONDS, SLEEPER, Conformance, Opener, Watched, clear, command, unit

LINKS = Path("/run/systemd/system")


def links(*names: str) -> list[Path]:
    return [path for path in LINKS.rglob("*") if path.name in names]


async def systemctl(*words: str) -> str:
    done = await trio.run_process(["systemctl", *words], capture_stdout=True, stderr=subprocess.STDOUT)
    return done.stdout.decode()


async def back(executor: Executor) -> dict[str, Actual]:
    """What is there as soon as systemd can be reached again."""
    with trio.fail_after(SECONDS):
        while True:
            try:
                return await executor.adopt()
            except ExecutorGone:
                await trio.sleep(0.02)


async def told_to_list(executor: Executor) -> None:
    with trio.fail_after(SECONDS):
        while await executor.changes().receive() is not None:
            pass


class TestSystemd(Conformance):
    @pytest.fixture
    def opener(self) -> Opener:
        assert booted()
        return Systemd

    async def test_a_unit_of_the_hosts_own_is_not_replaced(self, host: Watched) -> None:
        for name in ("dbus.service", "getty@9.service", "tmp.mount", "multi-user.target"):
            with pytest.raises(ExecutorError, match=rf"could not load {name}: this host has a unit of that name"):
                await host.executor.load(name, SLEEPER)
        assert await host.executor.adopt() == {}
        assert not links("dbus.service")

    async def test_a_dependency_that_fails_is_the_reason(self, host: Watched) -> None:
        await host.executor.load("broken.service", unit("Type=oneshot\nExecStart=/bin/false"))
        await host.executor.load("a.service", b"[Unit]\nRequires=broken.service\nAfter=broken.service\n" + SLEEPER)
        await host.executor.settle()
        await host.executor.start("a.service")
        actual = await host.wait("a.service", lambda a: a.result != "")
        assert (actual.active, actual.result) == ("inactive", "dependency")
        assert host.now["broken.service"].result == "exit-code 1"

    async def test_a_condition_that_does_not_hold_is_the_reason(self, host: Watched) -> None:
        await host.executor.load("a.service", b"[Unit]\nConditionPathExists=/nowhere\n" + SLEEPER)
        await host.executor.settle()
        await host.executor.start("a.service")
        actual = await host.wait("a.service", lambda a: a.result != "")
        assert (actual.active, actual.result) == ("inactive", "condition")

    async def test_what_cannot_be_read_says_why(self, host: Watched) -> None:
        await host.executor.load("a.service", b"[Service]\nType=simple\n")
        await host.executor.settle()
        actual = await host.wait("a.service", lambda a: a.load != "loaded")
        assert actual.load == "bad-setting"
        assert "bad unit file setting" in actual.result

    async def test_install_sections_are_followed_until_the_unit_goes(self, host: Watched) -> None:
        wanted = LINKS / "multi-user.target.wants" / "a.service"
        installed = SLEEPER + b"[Install]\nWantedBy=multi-user.target\nAlias=other-name.service\n"
        await host.executor.load("a.service", installed)
        await host.executor.settle()
        assert wanted.is_symlink()
        assert (LINKS / "other-name.service").is_symlink()
        await host.executor.load("a.service", SLEEPER)
        await host.executor.settle()
        assert not wanted.is_symlink()
        await host.executor.start("a.service")
        await host.wait_for("a.service", "active")
        await host.executor.load("a.service", installed)
        await host.executor.unload("a.service")
        await host.executor.settle()
        assert not links("a.service", "other-name.service")
        assert (await systemctl("show", "--property=LoadState", "a.service")).strip() == "LoadState=not-found"

    async def test_other_types_of_units(self, host: Watched) -> None:
        await host.executor.load("tick.service", unit("Type=oneshot\nExecStart=/bin/true"))
        await host.started("tick.timer", b"[Timer]\nOnActiveSec=1h\n", "active/waiting")
        await host.started("tick.path", b"[Path]\nPathExists=/nowhere\n", "active/waiting")
        await host.executor.load("door.service", unit("ExecStart=/bin/true"))
        await host.started("door.socket", b"[Socket]\nListenStream=/run/door\n", "active/listening")
        await host.started("mnt.mount", b"[Mount]\nWhat=tmpfs\nWhere=/mnt\nType=tmpfs\n", "active/mounted")
        await host.started("group.target", b"[Unit]\nDescription=Some\n", "active/active")
        await host.started("part.slice", b"[Unit]\nDescription=Some\n", "active/active")
        await host.executor.stop("mnt.mount")
        assert (await host.wait_for("mnt.mount", "inactive")).result == ""

    async def test_a_crash_before_settle_is_made_good(self, host: Watched, opener: Opener) -> None:
        await host.started("a.service", SLEEPER)
        await host.executor.load("a.service", unit("Type=exec\nExecStart=/bin/sleep 2000"))
        (DIRECTORY / ".part-left").write_text("half a fi")
        (DIRECTORY / "README").write_text("no unit")
        async with opener() as second:
            assert set(await second.adopt()) == {"a.service"}
            await second.stop("a.service")
            await second.start("a.service")
            await host.wait("a.service", lambda a: a.active == "active" and command(a.pid)[1:] == ["2000"])
        assert {path.name for path in DIRECTORY.iterdir()} == {"a.service", "README"}
        (DIRECTORY / "README").unlink()

    async def test_a_load_that_was_cut_off_before_its_link_can_be_unloaded(self, host: Watched) -> None:
        (DIRECTORY / "a.service").write_bytes(SLEEPER)
        assert set(await host.executor.adopt()) == {"a.service"}
        await host.executor.unload("a.service")
        await host.executor.settle()
        assert await host.executor.adopt() == {}

    async def test_systemd_executes_itself_anew(self, opener: Opener) -> None:
        async with opener() as executor:
            await clear(executor)
            await executor.load("a.service", SLEEPER)
            await executor.settle()
            await executor.start("a.service")
            while (before := (await executor.adopt())["a.service"]).active != "active":
                pass
            await systemctl("daemon-reexec")
            await told_to_list(executor)
            assert (await back(executor))["a.service"] == before
            await executor.stop("a.service")
            while (change := await executor.changes().receive()) is None or change.active != "inactive":
                pass
            await clear(executor)

    async def test_dbus_dies(self, opener: Opener) -> None:
        async with opener() as executor:
            await clear(executor)
            for name, text in (("a.service", SLEEPER), ("b.service", FAILS)):
                await executor.load(name, text)
            await executor.settle()
            await executor.start("a.service")
            while (before := (await executor.adopt())["a.service"]).active != "active":
                pass
            await systemctl("kill", "--signal=KILL", "dbus.service")
            await told_to_list(executor)
            assert (await back(executor))["a.service"] == before
            await executor.start("b.service")
            with trio.fail_after(SECONDS):
                while (change := await executor.changes().receive()) is None or change.active != "failed":
                    pass
            await clear(executor)
