"""Hosts of another make update from a real node, as update_engine does it: ask, fetch, tell, come back."""

import base64
import hashlib
import http.client
import json
import random
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from core.client import connect
from core.update import keys
from core.update.records import Report, encode
from tests.cli.programs import Node
from tests.omaha.requests import APP, APPLIED, CHECK, FAILED, FINISHED, FIRST, PING, STARTED, Said, request, said
from tests.tls.certificates import Workshop

pytestmark = pytest.mark.slow
PAYLOAD = random.Random(4).randbytes(900_000)
ANN, BEN, CLEO, OWN = "a" * 32, "b" * 32, "c" * 32, "d" * 32


class House:
    """A node that wants no certificates, over TLS and over plain HTTP."""

    def __init__(self, workshop: Workshop, node: Node) -> None:
        self.workshop = workshop
        self.node = node
        self.trust = ssl.create_default_context(cafile=str(workshop.home / "ca" / "ca.crt"))
        self.secure, self.plain = (int(url.rpartition(":")[2]) for url in node.file.endpoints)

    def good(self, *words: str) -> str:
        done = self.workshop.host.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def ask(
        self,
        body: bytes,
        path: str = "/v1/update/",
        *,
        plain: bool = False,
        method: str = "POST",
        header: tuple[str, str] = ("A", ""),
    ) -> tuple[int, dict[str, str], bytes]:
        connection = (
            http.client.HTTPConnection("127.0.0.1", self.plain, timeout=30)
            if plain
            else http.client.HTTPSConnection("127.0.0.1", self.secure, timeout=30, context=self.trust)
        )
        connection.request(method, path, body or None, {"Content-Type": "text/xml", header[0]: header[1]})
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def tell(self, machine: str, version: str = "1.0.0", inside: str = CHECK, *, track: str = "flatcar") -> Said:
        status, headers, body = self.ask(request(machine, version, inside, track=track))
        assert (status, headers["content-type"]) == (200, "text/xml; charset=utf-8"), body
        return said(body)

    def hosts(self, channel: str = "flatcar") -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads(self.good("update", "channel", "show", channel, "-o", "json"))[
            "hosts"
        ]
        return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home: Path = tmp_path_factory.mktemp("house")
    workshop = Workshop(home)
    files = ["--cert-file", str(workshop.server.certificate), "--key-file", str(workshop.server.key)]
    urls = "https://127.0.0.1:0,http://127.0.0.1:0"
    trust = ["--trusted-ca-file", str(home / "ca" / "ca.crt")]
    with workshop.host.node("--listen-client-urls", urls, *files, *trust) as node:
        house = House(workshop, node)
        (home / "update.gz").write_bytes(PAYLOAD)
        house.good("image", "package", "update.gz", "--product", "flatcar", "--version", "2.0.0")
        house.good("update", "channel", "set", "flatcar", "--product", "flatcar", "--version", "2.0.0")
        house.good("update", "group", "set", "flatcar", "--channel", "flatcar", "--omaha", f"{{{APP.upper()}}}")
        house.good("update", "group", "set", "shut", "--channel", "flatcar")
        yield house


def test_hosts_take_turns_and_a_failure_stops_them(house: House) -> None:
    found = house.tell(ANN, inside=FIRST.format("0.0.0.0"))
    assert (found.check, found.version, found.size, found.events) == ("ok", "2.0.0", len(PAYLOAD), 1)
    assert found.sha256 == base64.b64encode(hashlib.sha256(PAYLOAD).digest()).decode()
    assert found.sha1 == base64.b64encode(hashlib.sha1(PAYLOAD, usedforsecurity=False).digest()).decode()
    assert found.urls[0].startswith(f"https://127.0.0.1:{house.secure}/v1/packages/")
    assert found.urls[0].endswith("/update.gz")
    assert house.tell(BEN).check == "noupdate", "the first goes alone"
    path = found.urls[0].partition(str(house.secure))[2]
    status, headers, body = house.ask(b"", path, method="GET")
    assert (status, int(headers["content-length"]), body == PAYLOAD) == (200, len(PAYLOAD), True)
    for event, stage in ((STARTED, "fetching"), (FINISHED, "writing"), (APPLIED, "waiting")):
        assert house.tell(ANN, inside=event) == Said("ok", "", events=1)
        assert house.hosts()[ANN]["stage"] == stage
    assert house.tell(ANN, inside=PING) == Said("ok", "")
    assert house.hosts()[ANN]["stage"] == "waiting", "a sign of life says nothing else"
    assert house.tell(BEN).check == "noupdate"
    assert house.tell(ANN, "2.0.0", FIRST.format("1.0.0")).check == "noupdate"
    assert (house.hosts()[ANN]["version"], house.hosts()[ANN].get("stage", "idle")) == ("2.0.0", "idle")
    # It is well, so the next may go; he fails, and all others stay.
    assert house.tell(BEN).check == "ok"
    assert house.tell(BEN).check == "ok", "who asks again gets the same again"
    house.tell(BEN, inside=STARTED)
    house.tell(BEN, inside=FAILED.format(9))
    assert house.hosts()[BEN]["error"] == "the update failed with code 9"
    assert house.tell(BEN).check == "noupdate"
    assert house.tell(CLEO).check == "noupdate"
    shown = house.good("update", "group", "list")
    assert "paused: 1 failed" in shown
    assert "code 9" in shown
    house.good("update", "group", "resume", "flatcar")
    assert house.tell(BEN).check == "ok"
    house.tell(BEN, inside=APPLIED)
    # The boot loader went back to the old version; older clients say nothing but that they restarted.
    assert house.tell(BEN, inside=FIRST.format("1.0.0")).check == "noupdate"
    assert "came back with 1.0.0" in house.hosts()[BEN]["error"]
    house.good("update", "group", "resume", "flatcar")
    house.good("update", "group", "pause", "flatcar", "--why", "later")
    assert house.tell(CLEO).check == "noupdate"
    house.good("update", "group", "resume", "flatcar")
    assert house.tell(CLEO).check == "ok"
    house.good("update", "group", "pause", "flatcar")
    assert house.tell(CLEO).check == "noupdate", "what was offered is not given out while the group is paused"
    house.good("update", "group", "resume", "flatcar")
    house.good("update", "group", "forget", "flatcar")
    assert set(house.hosts()) == {ANN, BEN, CLEO}, "none of them is away"
    house.good("update", "group", "forget", "flatcar", CLEO)
    assert set(house.hosts()) == {ANN, BEN}
    assert house.workshop.host.run("update", "group", "forget", "flatcar", CLEO).returncode == 1


def test_floors_come_first(house: House) -> None:
    house.good("image", "package", "update.gz", "--product", "other", "--version", "1.5")
    house.good("image", "package", "update.gz", "--product", "other", "--version", "2.0")
    house.good("update", "channel", "set", "other", "--product", "other", "--version", "2.0", "--floor", "1.5")
    house.good("update", "group", "set", "floors", "--channel", "other", "--omaha", APP)
    machine = "f" * 32
    assert house.tell(machine, "1.0", track="floors").version == "1.5"
    assert house.tell(machine, "1.5", FIRST.format("1.0"), track="floors").version == "2.0"
    assert house.tell(machine, "2.0", FIRST.format("1.5"), track="floors").check == "noupdate"
    house.good("image", "package", "--drop", "--product", "other", "--version", "1.5")
    assert house.tell("e" * 32, "1.0", track="floors").check == "noupdate", "what is not served is not offered"


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=100-", 206, 100, len(PAYLOAD)),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=300000-700000", 206, 300_000, 700_001),
        ("bytes=899999-99999999", 206, 899_999, 900_000),
        ("bytes=900000-", 416, 0, 0),
        ("bytes=5-4", 416, 0, 0),
        ("bytes=-5", 200, 0, 900_000),
        ("bytes=1-2,4-5", 200, 0, 900_000),
        ("lines=1-2", 200, 0, 900_000),
    ],
)
def test_a_download_that_broke_off_goes_on(house: House, wanted: str, status: int, start: int, end: int) -> None:
    path = f"/v1/packages/{hashlib.sha256(PAYLOAD).hexdigest()}/update.gz"
    found, headers, body = house.ask(b"", path, method="GET", header=("Range", wanted))
    assert (found, body == PAYLOAD[start:end]) == (status, True)
    if status == 206:
        assert headers["content-range"] == f"bytes {start}-{end - 1}/{len(PAYLOAD)}"
        assert int(headers["content-length"]) == end - start
    if status == 416:
        assert headers["content-range"] == f"bytes */{len(PAYLOAD)}"


def test_who_is_answered(house: House) -> None:
    for track, app in (("shut", APP), ("nobody", APP), ("flatcar", "another"), ("", "")):
        found = said(house.ask(request(ANN, track=track, app=app))[2])
        assert (found.app, found.check) == ("error-unknownApplication", "error-internal")
    assert not {"nobody", "shut"} & {each["group"] for each in house.hosts().values()}
    status, _, body = house.ask(request(ANN), plain=True)
    assert (status, b"over TLS" in body) == (403, True)
    status, _, _ = house.ask(request(ANN), header=("Corenode-Relayed", "1"))
    assert status == 403
    digest = hashlib.sha256(PAYLOAD).hexdigest()
    assert house.ask(b"", f"/v1/packages/{digest}/x", plain=True, method="GET")[0] == 403
    for path in (f"/v1/packages/{'0' * 64}/x", "/v1/packages/", f"/v1/packages/{digest}", f"/v1/packages/{digest}/a/b"):
        assert house.ask(b"", path, method="GET")[0] == 404
    assert house.ask(b"", "/v1/update", method="GET")[0] == 405
    status, _, body = house.ask(b'<!DOCTYPE x [<!ENTITY a "b">]><request protocol="3.0"/>', "/v1/update")
    assert (status, b"DOCTYPE" in body) == (400, True)


def test_nobody_speaks_for_a_host_of_our_own(house: House) -> None:
    own = Report("default", "corenode", "x86_64", "7.0")

    async def write() -> None:
        async with connect(f"unix://{house.node.file.socket}") as store:
            await store.put(keys.report(OWN), encode(own))

    trio.run(write)
    found = house.tell(OWN, "0.1", STARTED)
    assert (found.app, found.events) == ("restricted", 0)


def test_a_real_client_without_a_certificate(house: House) -> None:
    """The C library that update_engine uses, which resumes by itself."""
    digest, home = hashlib.sha256(PAYLOAD).hexdigest(), house.workshop.home
    (home / "part").write_bytes(PAYLOAD[:123_456])
    url = f"https://127.0.0.1:{house.secure}/v1/packages/{digest}/update.gz"
    command = ["curl", "--silent", "--fail", "--max-time", "30", "--continue-at", "-", "--output", "part", url]
    subprocess.run([*command, "--cacert", str(home / "ca" / "ca.crt")], check=True, cwd=home, timeout=60)
    assert (home / "part").read_bytes() == PAYLOAD
