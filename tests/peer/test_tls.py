"""Mutual TLS between members: whose certificate opens which door."""

import os
import shutil
import ssl
import time
from datetime import timedelta
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from core.addresses import Url
from core.peer import Address
from core.peer.errors import PeerError
from core.peer.secure import FRESH_S, Contexts, TlsStream
from core.peer.upgrade import LINK, SNAPSHOT
from core.tls import peer_client_context
from core.tls.authority import load_chain
from core.tls.identity import Role
from tests.peer.callers import calling, hello, request
from tests.peer.support import Member, Trust, Workshop, introduce, running, stream_of, until


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "w")


def member(number: int, workshop: Workshop, name: str = "") -> Member:
    return Member(number, Trust(workshop.issue(name or f"n{number}"), workshop.root))


def why_not(one: Member, other: Member, text: str) -> bool:
    state = one.links.states().get(other.number)
    return state is not None and pytest.RaisesExc(Exception, match=text).matches(Exception(state.why_not))


def serial(trust: Trust | None) -> int:
    if trust is None:
        raise ValueError("a plain member has no certificate")
    return load_chain(trust.pair.certificate)[0].serial_number


def context(workshop: Workshop, name: str, role: Role) -> ssl.SSLContext:
    pair = workshop.issue(name, role)
    return peer_client_context(pair.certificate, pair.key, workshop.root)


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.PEER, Role.SERVER)])
async def test_only_certificates_of_peers_come_in(workshop: Workshop, role: Role) -> None:
    one, two = member(1, workshop), member(2, workshop)
    async with running(one, two):
        for said in (request(hello()), request(hello(), SNAPSHOT), b"GET /members HTTP/1.1\r\nHost: a\r\n\r\n"):
            async with calling(two, context(workshop, "n1", role)) as caller:
                await caller.send(said)
                status, reason, text = await caller.refusal()
                assert (status, reason) == (403, "not-a-peer")
                assert f"'n1' is for a {role}" in text
    assert two.asked == []


async def test_the_node_learns_whose_certificate_asks(workshop: Workshop) -> None:
    one = member(1, workshop)
    async with running(one), calling(one, context(workshop, "newcomer", Role.PEER)) as caller:
        await caller.send(b"GET /members HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await caller.answer())[0] == 200
    assert one.asked == [("/members", "newcomer")]


async def test_the_certificate_must_be_that_of_the_member(workshop: Workshop) -> None:
    one, two, impostor = member(1, workshop), member(2, workshop), member(1, workshop, name="n3")
    async with running(one, two), calling(two, context(workshop, "n3", Role.PEER)) as caller:
        await caller.send(request(hello()))
        assert (await caller.refusal())[1:] == (
            "wrong-name",
            "member 0000000000000001 is 'n1', but the certificate shown is that of 'n3'",
        )
    two = member(2, workshop)
    async with running(impostor, two, linked=False):
        two.links.follow({1: Address("n1", impostor.address.urls)})
        await until(lambda: why_not(two, impostor, "its certificate is that of 'n3', expected was 'n1'"))


async def test_a_server_certificate_is_no_member_either(workshop: Workshop) -> None:
    one, two = member(1, workshop), Member(2, Trust(workshop.issue("n2", Role.SERVER), workshop.root))
    async with running(one, two, linked=False):
        introduce(one, two)
        await until(lambda: why_not(one, two, "'n2' is for a server"))
        await until(lambda: why_not(two, one, "does not accept this member's TLS|closed the connection without"))


async def test_the_certificate_must_have_the_host_of_the_url(workshop: Workshop) -> None:
    one, two = member(1, workshop), Member(2, Trust(workshop.issue("n2", host="127.0.0.2"), workshop.root))
    async with running(one, two, linked=False):
        introduce(one, two)
        await until(lambda: why_not(one, two, "certificate is not accepted here: IP address mismatch"))
        await until(lambda: two.linked(one))


async def test_members_of_another_authority_do_not_meet(workshop: Workshop, tmp_path: Path) -> None:
    one, two = member(1, workshop), member(2, Workshop(tmp_path / "other"))
    async with running(one, two, linked=False):
        introduce(one, two)
        await until(lambda: why_not(one, two, "certificate is not accepted here: .*(certificate|issuer)"))
        await until(lambda: why_not(two, one, "certificate is not accepted here: .*(certificate|issuer)"))


async def test_nobody_comes_in_without_a_certificate(workshop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    one = member(1, workshop)
    bare = ssl.create_default_context(cafile=str(workshop.root))
    async with running(one), calling(one, bare) as caller:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await caller.stream.receive_some(100)
        assert "CERTIFICATE_REQUIRED" in str(caught.value.__cause__)
        await until(lambda: caplog.records)
        assert vars(caplog.records[0])["why"] == "it showed no certificate"


async def test_an_expired_certificate_is_refused_with_a_hint(workshop: Workshop) -> None:
    pair = workshop.authority.issue(
        Role.PEER, "n2", ["127.0.0.1"], workshop.root.parent / "short", timedelta(seconds=1)
    )
    one, two = member(1, workshop), Member(2, Trust(pair, workshop.root))
    end = load_chain(pair.certificate)[0].not_valid_after_utc.timestamp()
    await trio.sleep(max(0.0, end - time.time()) + 1.05)
    async with running(one, two, linked=False):
        introduce(one, two)
        await until(lambda: why_not(one, two, "certificate has expired; renew it, or compare the clocks"))
        await until(lambda: why_not(two, one, "does not accept this member's TLS: certificate expired"))


async def test_the_revoked_are_refused_and_their_links_cut(workshop: Workshop) -> None:
    one, two, three = (member(number, workshop) for number in (1, 2, 3))
    async with running(one, two, three):
        for judge in (one, three):
            judge.revoked.add(serial(two.trust))
        assert one.linked(two)
        one.links.recheck()
        three.links.recheck()
        await until(lambda: why_not(one, two, "the certificate of 'n2', serial [0-9a-f]+, is revoked"))
        await until(lambda: why_not(two, one, "it refuses: the certificate of 'n2', serial [0-9a-f]+, is revoked"))
        await until(lambda: one.links.states()[2].connected_from == "")
        assert one.linked(three)
        assert three.linked(one)
        with pytest.raises(PeerError, match="is revoked"):
            await two.links.send_snapshot(1, None, stream_of([]))


async def test_renewed_certificates_are_used_without_a_restart(workshop: Workshop) -> None:
    one, two = member(1, workshop), member(2, workshop)
    old = serial(two.trust)
    async with running(one, two):
        pair = workshop.issue("n2")
        assert two.trust is not None
        for source, target in ((pair.key, two.trust.pair.key), (pair.certificate, two.trust.pair.certificate)):
            shutil.copy(source, target.with_suffix(".new"))
            os.rename(target.with_suffix(".new"), target)
        one.revoked.add(old)
        one.links.recheck()
        await until(lambda: one.links.states()[2].why_not)
        await until(lambda: one.linked(two) and two.linked(one))
        assert one.links.send(2, 1, b"again")
        assert two.links.send(1, 1, b"again")
        await until(lambda: one.got and two.got)


async def test_plain_and_tls_do_not_meet_and_both_say_so(workshop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    secure, plain = member(1, workshop), Member(2)
    async with running(secure, plain, linked=False):
        secure.links.follow({2: Address("n2", (Url("https", "127.0.0.1", plain.port),))})
        plain.links.follow({1: Address("n1", (Url("http", "127.0.0.1", secure.port),))})
        await until(lambda: why_not(secure, plain, "does not speak TLS; is its peer URL an http:// one"))
        await until(
            lambda: why_not(plain, secure, "closed the connection without an answer; is its peer URL an https:// one")
        )
        plain.links.follow({1: secure.address})
        await until(lambda: why_not(plain, secure, "needs TLS, and this member has no peer certificate"))
    told = {str(vars(record).get("why")) for record in caplog.records}
    assert "this is TLS, and the port is for plain HTTP" in told
    assert any("speaks plain HTTP to a port of TLS" in text for text in told)


async def test_a_link_request_over_the_wrong_path_is_no_link(workshop: Workshop) -> None:
    one, two = member(1, workshop), member(2, workshop)
    async with running(one, two), calling(two, context(workshop, "n1", Role.PEER)) as caller:
        await caller.send(request(hello(), LINK).replace(b"/corenode/peer", b"/corenode/pear"))
        assert (await caller.refusal())[:2] == (404, "not-found")


async def test_files_that_break_are_named_and_nothing_ends(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    """As in the middle of a renewal: whoever asks for contexts must not bring the links down."""
    one, two = member(1, workshop), member(2, workshop)
    async with running(one, two, linked=False):
        assert two.trust is not None
        two.trust.pair.certificate.rename(two.trust.pair.certificate.with_suffix(".away"))
        introduce(one, two)
        await until(lambda: why_not(two, one, "this member's own certificate cannot be used: .*n2.crt"))
        await until(lambda: why_not(one, two, "."))  # closed, or reset if its first bytes were there by then
        two.trust.pair.certificate.with_suffix(".away").rename(two.trust.pair.certificate)
        await until(lambda: one.linked(two) and two.linked(one))


async def test_while_new_files_do_not_fit_the_old_ones_serve(
    workshop: Workshop, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Key and certificate are replaced one after the other; strangers who connect all the time make no work."""
    trust = Trust(workshop.issue("n1"), workshop.root)
    made = []

    def make() -> ssl.SSLContext:
        made.append(trio.current_time())
        return trust.server()

    contexts = Contexts(make)
    first = contexts.current()
    assert contexts.current() is first
    shutil.copy(workshop.issue("n1").key, trust.pair.key)
    for _ in range(3):
        await trio.sleep(FRESH_S)
        assert contexts.current() is first
    assert len(made) == 4
    assert [record.getMessage() for record in caplog.records] == [
        "new peer certificates not taken; going on with the old ones"
    ]
    trust.pair = workshop.issue("n1")
    await trio.sleep(FRESH_S)
    assert contexts.current() is not first


async def test_a_host_that_can_stand_in_no_certificate_is_no_fault_of_the_process(workshop: Workshop) -> None:
    one, two = member(1, workshop), member(2, workshop)
    async with running(one, two, linked=False):
        for host in (".localhost", "x" * 70):
            one.links.follow({2: Address("n2", (Url("https", host, two.port),))})
            await until(lambda: why_not(one, two, "it cannot be connected to|cannot be the name"))
        introduce(one, two)
        await until(lambda: one.linked(two))


async def test_a_stream_whose_writing_was_cancelled_is_broken(workshop: Workshop) -> None:
    """A record sent in part must not be followed by others."""
    one = member(1, workshop)
    assert one.trust is not None
    near, far = await loopback_pair()
    async with near, far, trio.open_nursery() as nursery:
        client = TlsStream(near, context(workshop, "n2", Role.PEER), "127.0.0.1")
        server = TlsStream(far, one.trust.server(), None)
        nursery.start_soon(client.shake_hands)
        await server.shake_hands()
        with trio.move_on_after(0.05) as patience:
            await server.send_all(bytes(32_000_000))
        assert patience.cancelled_caught
        with pytest.raises(trio.BrokenResourceError):
            await server.send_all(b"more")


async def test_a_stream_whose_reading_was_cancelled_loses_nothing(workshop: Workshop) -> None:
    one = member(1, workshop)
    assert one.trust is not None
    near, far = await loopback_pair()
    async with near, far, trio.open_nursery() as nursery:
        client = TlsStream(near, context(workshop, "n2", Role.PEER), "127.0.0.1")
        server = TlsStream(far, one.trust.server(), None)
        nursery.start_soon(client.shake_hands)
        await server.shake_hands()
        sent = bytes(range(250)) * 400
        nursery.start_soon(client.send_all, sent)
        received = b""
        while len(received) < len(sent):
            with trio.CancelScope() as scope:
                scope.cancel()
                await server.receive_some(1000)
            assert scope.cancelled_caught
            received += await server.receive_some(1000)
        assert received == sent


async def loopback_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    async with listener:
        near = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        return near, await listener.accept()
