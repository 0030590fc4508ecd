"""Units that cannot be, by the verbs of both names on a real node: refused with a reason, nothing stored."""

from collections.abc import Iterator

import pytest

from tests.cli.programs import PROGRAM, Host
from tests.fleetctl_name.test_process import cells, run
from tests.whole.servers import NO_UNITS

pytestmark = pytest.mark.slow
GOOD = b"[Service]\nExecStart=/bin/sleep 1000\n"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("host"))
    for setting in NO_UNITS:
        host.environment.pop(setting, None)
    (host.home / "fleetctl").symlink_to(PROGRAM[1])
    with host.node():
        yield host


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("large.service", GOOD + b"#" * 2**20),
        ("nul.service", GOOD + b"# \0\n"),
        ("bytes.service", GOOD + b"# \xff\xfe\n"),
        ("self.service", GOOD + b"[X-Fleet]\nGlobal=true\nMachineOf=other.service\n"),
    ],
)
def test_a_text_that_cannot_be_is_refused(host: Host, name: str, text: bytes) -> None:
    (host.home / name).write_bytes(text)
    own = host.run("unit", "submit", name)
    code, _, error = run(host, "submit", name)
    assert (own.returncode, code) == (1, 1)
    assert own.stderr.strip()
    assert error.strip()
    assert b"Traceback" not in own.stderr
    assert host.text("unit", "list", "-o", "json").strip() == "[]"


@pytest.mark.parametrize("word", ["..", "a b.service", "@1.service", "x.unknown", "%2e%2e%2fx.service"])
def test_a_name_that_cannot_be_is_refused(host: Host, word: str) -> None:
    if word != "..":
        (host.home / word).write_bytes(GOOD)
    done = host.run("unit", "submit", word)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert host.text("unit", "list", "-o", "json").strip() == "[]"


def test_units_are_listed_in_order_and_circles_wait_with_a_reason(host: Host) -> None:
    """[ListUnitFilesOrder]"""
    pair = {"b.service": "a.service", "a.service": "b.service"}
    for name, peer in pair.items():
        (host.home / name).write_bytes(GOOD + f"[X-Fleet]\nMachineOf={peer}\n".encode())
    first, second = (host.run("unit", "submit", name) for name in pair)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 1
    assert b"a.service" in second.stderr
    for name in ("z.service", "m.service"):
        (host.home / name).write_bytes(GOOD)
        assert run(host, "submit", name)[0] == 0
    listed = [row[0] for row in cells(run(host, "list-unit-files", "--no-legend", "--fields=unit")[1])]
    assert listed == ["b.service", "m.service", "z.service"]
    assert run(host, "destroy", *listed)[0] == 0
