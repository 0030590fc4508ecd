"""What of a unit's text is taken, refused, or named as without effect."""

import logging
from pathlib import Path

import pytest

from core.agent.executor import ExecutorError
from core.agent.supervisor import cgroups, host
from core.agent.supervisor.cgroups import Cgroups, Tree
from core.agent.supervisor.shim.job import Job
from core.agent.supervisor.translation import TranslationError, translate
from core.sched import names, unit_text
from tests.supervisor.world import MACHINE, world

BOTH = {1: "one", 2: "two"}


def job(*lines: str, groups: Cgroups | None = None, name: str = "a.service") -> tuple[Job, list[str]]:
    text = unit_text.parse("\n".join(["[Service]", *lines, ""]).encode())
    data, warnings = translate(
        names.parse(name), text, host.look(MACHINE, Path("/x")), groups or Cgroups(None, {}), (1, 2)
    )
    return Job(data), warnings


REFUSED = [
    ((), "no ExecStart="),
    (("ExecStart=a", "ExecStart=b"), "several ExecStart="),
    (("ExecStart=a", "Type=dbus"), "D-Bus"),
    (("ExecStart=a", "Type=sometimes"), "none of simple, exec"),
    (("ExecStart=a", "Type=oneshot", "Restart=always"), "never end"),
    (("ExecStart=a", "TimeoutStartSec=soon"), "TimeoutStartSec=soon"),
    (("ExecStart=a", "KillSignal=SIGNONE"), "no signal"),
    (("ExecStart=a", "Nice=99"), "between -20 and 19"),
    (("ExecStart=a", "UMask=abc"), "octal"),
    (("ExecStart=a", "WorkingDirectory=here"), "absolute"),
    (("ExecStart=a", "EnvironmentFile=here"), "absolute"),
    (("ExecStart=a", "StandardOutput=append:here"), "absolute"),
    (("ExecStart=a", "RuntimeDirectory=../../etc"), "path below"),
    (("ExecStart=a", "RuntimeDirectory=/etc"), "path below"),
    (("ExecStart=a", 'Environment="A=never ends'), "not closed"),
    (("ExecStart='a",), "not closed"),
    (("ExecStart=a", "LimitNOFILE=many"), "no number"),
    (("ExecStart=a", "SuccessExitStatus=999"), "no signal"),
    (("ExecStart=a", "RemainAfterExit=perhaps"), "neither yes nor no"),
    (("ExecStart=a", f"RestartPreventExitStatus={'9' * 5000}"), "digits"),
    (("ExecStart=a", f"LimitFSIZE={'9' * 5000}"), "no size"),
    (("ExecStart=a", "LimitCPU=1: infinity"), "infinity"),
    (("ExecStart=a", "LimitNICE=+x"), "x"),
]


@pytest.mark.parametrize(("lines", "why"), REFUSED)
def test_what_is_refused_and_why(lines: tuple[str, ...], why: str) -> None:
    with pytest.raises(TranslationError, match=why):
        job(*lines)


@pytest.mark.parametrize("kind", ["timer", "socket", "mount", "path", "slice"])
async def test_other_types_need_systemd(kind: str, tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        with pytest.raises(ExecutorError, match=f"a {kind} needs systemd"):
            await w.supervisor.load(f"a.{kind}", b"[Timer]\nOnCalendar=daily\n")
        assert await w.supervisor.adopt() == {}


@pytest.mark.parametrize("text", [b"\0", b"\xff\xfe", b"[Service", b"[Service]\nExecStart=\n", b"x" * (1 << 20)])
async def test_text_that_is_no_unit(text: bytes, tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        with pytest.raises(ExecutorError):
            await w.supervisor.load("a.service", text)
        assert await w.supervisor.adopt() == {}


async def test_unknown_options_are_named_once_in_both_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = b"[Unit]\nAfter=b.service\n[Service]\nType=oneshot\nExecStart=true\nProtectSystem=full\nX-A=1\n"
    text += b"ProtectSystem=strict\n"
    async with world(tmp_path) as w:
        with caplog.at_level(logging.WARNING):
            await w.supervisor.load("a.service", text + b"[X-Fleet]\nGlobal=true\n[Install]\nWantedBy=b.target\n")
        assert len(caplog.records) == 2
        await w.supervisor.start("a.service")
        await w.over("a.service")
        named = [line for line in await w.whole_log("a.service") if line.startswith("-- ")]
        assert [line.split()[1] for line in named] == ["After=", "ProtectSystem="]


def test_defaults_are_systemds() -> None:
    plain, warnings = job("ExecStart=a")
    assert warnings == []
    assert plain.text("type") == "simple"
    assert [plain.seconds(key) for key in ("start-timeout", "stop-timeout", "restart-pause")] == [90, 90, 0.1]
    assert plain.row("start-limit") == ["10.0", "5"]
    once, _ = job("ExecStart=a", "Type=oneshot")
    assert once.seconds("start-timeout") == float("inf")
    both, _ = job("ExecStart=a", "TimeoutSec=5", "TimeoutStopSec=0")
    assert (both.seconds("start-timeout"), both.seconds("stop-timeout")) == (5, float("inf"))


def test_what_is_no_assignment_is_left_out_and_named() -> None:
    found, warnings = job("ExecStart=a", "Environment=A=1 novalue 1B=2 C=3")
    assert found.all("env") == [["A", "1"], ["C", "3"]]
    assert [sentence.split()[1] for sentence in warnings] == ["'novalue'", "'1B=2'"]


def test_commands_with_their_marks() -> None:
    found, _ = job("Type=oneshot", "ExecStart=-@/bin/sh shell -c 'a b' ; :/bin/echo %i $X", name="x@y.service")
    assert found.commands("start") == [
        ("-", ["/bin/sh", "shell", "-c", "a b"]),
        (":", ["/bin/echo", "/bin/echo", "y", "$X"]),
    ]


LIMITS = [
    ("MemoryMax=10M", "memory.limit_in_bytes 10485760", "memory.max 10485760"),
    ("MemoryLimit=infinity", "memory.limit_in_bytes -1", "memory.max max"),
    ("MemoryHigh=1G", "", "memory.high 1073741824"),
    ("CPUQuota=150%%", "cpu.cfs_quota_us 150000", "cpu.max 150000 100000"),
    ("CPUShares=2048", "cpu.shares 2048", "cpu.weight 200"),
    ("CPUWeight=50", "cpu.shares 512", "cpu.weight 50"),
    ("TasksMax=7", "pids.max 7", "pids.max 7"),
    ("TasksMax=infinity", "pids.max max", "pids.max max"),
]


@pytest.mark.parametrize(("line", "one", "two"), LIMITS)
def test_limits_in_both_versions_of_cgroups(line: str, one: str, two: str) -> None:
    for version, expected in ((1, one), (2, two)):
        trees = {name: Tree(f"/cg/{name}" if version == 1 else "/cg", version) for name in ("memory", "cpu", "pids")}
        found, warnings = job("ExecStart=a", line, groups=Cgroups(trees["pids"], trees))
        written = [" ".join([Path(path).name, value]) for path, value in found.all("cgroup-value")]
        assert written == ([expected] if expected else [])
        assert bool(warnings) == (not expected)
    _, warnings = job("ExecStart=a", line)
    assert len(warnings) == 1
    assert "no cgroups" in warnings[0]


def test_a_tree_that_cannot_be_made_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "mounts", lambda: dict.fromkeys(("memory", "pids", ""), str(tmp_path / "none")))
    assert cgroups.probe(tmp_path) == Cgroups(None, {})
