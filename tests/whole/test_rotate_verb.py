"""`corenode ca rotate` and `ca show` as programs, with nodes that answer, do not, or look after themselves."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from core.tls.authority import load_chain
from core.tls.identity import Role
from tests.cli.programs import Host, Node
from tests.cli.scripted import Peer, server
from tests.tls.certificates import Workshop
from tests.whole.rotation_clients import wait_until


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def told(host: Host, *words: str) -> tuple[int, str, str]:
    done = host.run("ca", *words)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def trusted(node: Node) -> list[str]:
    [row] = json.loads(node.host.text("status", "-o", "json"))
    return [root["name"] for root in row["status"]["tls"]["trusted"]]


def test_from_beginning_to_end_in_words(workshop: Workshop) -> None:
    host = workshop.host
    assert told(host, "rotate", "--finish")[0] == 1
    with workshop.node() as node:
        assert trusted(node) == ["test authority"]
        code, out, err = told(host, "rotate")
        assert (code, out) == (0, "")
        assert "both roots" in err
        assert "corenode ca rotate --dir ca --finish" in err
        code, out, err = told(host, "rotate")
        assert (code, out) == (0, "")
        assert "is under way since" in err

        code, out, err = told(host, "show")
        assert code == 0
        assert "'test authority 2' takes over from 'test authority'" in err
        assert "chain only to the old root: 1." in err
        assert [line.split()[-1] for line in out.splitlines()] == ["ROOT", "old", "new", "old", "new", "old"]
        [shown] = json.loads(host.text("ca", "show", "-o", "json", "certs/node1.crt"))
        assert shown["rotation"] == "old"

        code, out, err = told(host, "rotate", "--finish")
        assert code == 1
        assert "shows node1, which chains only to the old root" in out
        assert "The old root stays" in err
        assert told(host, "renew", "certs/node1.crt")[0] == 0
        serial = f"{load_chain(workshop.server.certificate)[0].serial_number:x}"
        wait_until(lambda: serial in host.text("status", "-o", "json"))
        code, out, err = told(host, "rotate", "--finish")
        assert (code, out) == (0, "")
        assert "has only 'test authority 2' now" in err
        wait_until(lambda: trusted(node) == ["test authority 2"])
    assert told(host, "show")[2] == ""


def test_a_node_that_does_not_answer_stands_against_the_end_until_it_is_forced(workshop: Workshop) -> None:
    told(workshop.host, "rotate")
    told(workshop.host, "renew", "certs/node1.crt")
    nowhere = ["--endpoints", f"unix://{workshop.home}/nowhere"]
    code, out, _ = told(workshop.host, "rotate", "--finish", *nowhere)
    assert code == 1
    assert "cannot be asked: No such file or directory" in out
    code, out, err = told(workshop.host, "rotate", "--finish", "--force", *nowhere)
    assert code == 0
    assert "cannot be asked" in out
    assert "cut off" in err
    assert told(workshop.host, "rotate", "--force")[0] == 2


def test_a_revoked_certificate_needs_no_renewal(workshop: Workshop) -> None:
    gone = workshop.issue(Role.CLIENT, "gone")
    with workshop.node() as node:
        told(workshop.host, "rotate")
        told(workshop.host, "renew", "certs/node1.crt")
        wait_until(lambda: trusted(node) == ["test authority 2", "test authority"])
        assert "client gone," in told(workshop.host, "rotate", "--finish")[1]
        assert told(workshop.host, "revoke", str(gone.certificate))[0] == 0
        assert told(workshop.host, "rotate", "--finish")[:2] == (0, "")


def test_a_node_with_the_issuing_authority_goes_over_by_itself(workshop: Workshop) -> None:
    with workshop.node() as node:
        own = Path(node.file.data_dir) / "authority"
        own.mkdir(mode=0o700)
        for name in ("issuing.crt", "issuing.key"):
            shutil.copy(workshop.home / "ca" / name, own)
        told(workshop.host, "rotate")
        for name in ("former.crt", "issuing.key", "issuing.crt"):
            shutil.copy(workshop.home / "ca" / name, own)
        wait_until(lambda: len(load_chain(workshop.server.certificate)) == 3)
        wait_until(lambda: told(workshop.host, "rotate", "--finish")[0] == 0)  # once it shows what it has made


def test_an_authority_that_was_cut_short_says_what_to_do(workshop: Workshop) -> None:
    (workshop.home / "ca" / "rotation").mkdir()
    for words in (["issue", "--role", "client", "--name", "x"], ["renew", "certs/node1.crt"], ["renew", "--issuing"],
                  ["rotate", "--finish"]):  # fmt: skip
        code, out, err = told(workshop.host, *words)
        assert (code, out) == (1, "")
        assert "a rotation was cut short in ca; go on with it: corenode ca rotate --dir ca" in err
    code, out, err = told(workshop.host, "show")
    assert code == 0
    assert "cut short" in err


async def test_members_that_were_not_named_are_asked_too(workshop: Workshop) -> None:
    """Two scripted nodes: the first lists the second, which trusts only the old root, one that never started,
    and one with an address nobody can reach."""
    old = load_chain(workshop.home / "ca" / "ca.crt")[0]
    told(workshop.host, "rotate")
    told(workshop.host, "renew", "certs/node1.crt")
    members: list[dict[str, Any]] = [{"id": "c3", "name": ""}, {"id": "d4", "name": "", "clientURLs": ["http://h:0"]}]

    async def node(number: str, tls: object, peer: Peer) -> None:
        while request := await peer.request():
            path = request.split()[1]
            if path == "/corenode/status":
                await peer.answer(json.dumps({"name": f"node-{number}", "member_id": number, "tls": tls}))
            elif path == "/v2/members":
                await peer.answer(json.dumps({"members": members}))
            else:
                await peer.answer('{"message":"an admin may"}', "403 Forbidden")

    root = {"name": "x", "fingerprint": old.fingerprint(old.signature_hash_algorithm).hex(), "key_id": "ab"}  # type: ignore[arg-type]
    shown = {"name": "n", "serial": "1", "not_after": "2030-01-01", "key_id": "", "chains_to": []}
    async with (
        server(partial(node, "a1", None)) as first,
        server(partial(node, "b2", {"trusted": [root], "certificate": shown})) as second,
    ):
        members += [{"id": number, "name": f"node-{number}", "clientURLs": [endpoint.text]}
                    for number, endpoint in (("a1", first), ("b2", second))]  # fmt: skip
        run = partial(told, workshop.host, "rotate", "--finish", "--endpoints", first.text)
        code, out, _ = await trio.to_thread.run_sync(run)
    assert code == 1
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "WHO",
        "member c3",
        "member d4",
        "node node-b2 at node-b2",
    ]
    assert "trusts only the old root" in out
