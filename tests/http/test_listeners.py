"""TCP and unix listeners."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from core.api.http import Caller, ListenError, Reply, Request, Response, open_tcp, open_unix
from tests.http.support import GET, Client, serving


def who(request: Request, reply: Reply) -> None:
    """Say who asks."""
    caller = request.caller
    certificate = "a certificate" if caller.certificate else "no certificate"
    reply.send(Response(200, b"", f"{caller.address} {caller.local} {certificate}".encode()))


async def test_several_listeners_serve_and_a_tcp_caller_is_named_and_not_local() -> None:
    listeners = [*open_tcp("127.0.0.1", 0), *open_tcp("127.0.0.1", 0)]
    async with serving(who, listeners=listeners):
        for listener in listeners:
            assert listener.name == f"http://127.0.0.1:{listener.port}"
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                port = stream.socket.getsockname()[1]
                assert (await Client(stream).ask(GET)).text == f"127.0.0.1:{port} False no certificate"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
async def test_ipv6() -> None:
    (listener,) = open_tcp("::1", 0)
    assert listener.name.startswith("http://[::1]:")
    async with serving(who, listeners=[listener]), await trio.open_tcp_stream("::1", listener.port) as stream:
        assert (await Client(stream).ask(GET)).text.startswith("[::1]:")


async def test_listeners_are_closed_when_serving_ends(tmp_path: Path) -> None:
    listeners = [*open_tcp("127.0.0.1", 0), open_unix(tmp_path / "s")]
    port = listeners[0].port
    async with serving(who, listeners=listeners):
        assert (tmp_path / "s").exists()
    assert not (tmp_path / "s").exists()
    with pytest.raises(OSError, match=r"refused|all attempts"):
        await trio.open_tcp_stream("127.0.0.1", port)


def test_a_port_in_use_is_refused_with_advice() -> None:
    (listener,) = open_tcp("127.0.0.1", 0)
    with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{listener.port}: .* in use; another process"):
        open_tcp("127.0.0.1", listener.port)
    listener.close()


@pytest.mark.parametrize(
    ("host", "part"), [("192.0.2.1", "does not have that address"), ("a..b", "no address of this host")]
)
def test_an_address_of_another_host_is_refused(host: str, part: str) -> None:
    with pytest.raises(ListenError, match=part):
        open_tcp(host, 0)


async def test_the_unix_socket_is_private_and_its_owner_local(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = open_unix(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with serving(who, listeners=[listener]), await trio.open_unix_socket(path) as stream:
        client = Client(stream)
        for _ in range(2):
            assert (await client.ask(GET)).text == "unix True no certificate"


ASK_AS_NOBODY = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
data = b""
while piece := s.recv(4096): data += piece
print(data.rpartition(b"\\r\\n\\r\\n")[2].decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to ask as another user")
async def test_another_user_on_the_unix_socket_is_not_local() -> None:
    with tempfile.TemporaryDirectory() as directory:  # not `tmp_path`: others cannot go there
        path = Path(directory) / "s"
        path.parent.chmod(0o755)
        listener = open_unix(path)
        path.chmod(0o666)  # as if an operator had opened it: the mode is not what tells callers apart
        async with serving(who, listeners=[listener]):
            done = await trio.run_process([sys.executable, "-c", ASK_AS_NOBODY, str(path)], capture_stdout=True)
        assert done.stdout == b"unix False no certificate\n"


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    dead = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", dead, path], check=True)
    assert path.exists()
    open_unix(path).close()
    assert not path.exists()


def test_the_socket_of_a_live_process_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = open_unix(path)
    with pytest.raises(ListenError, match=rf"process {os.getpid()} listens there"):
        open_unix(path)
    assert path.exists()
    listener.close()


def test_a_socket_file_that_is_no_longer_ours_is_left(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = open_unix(path)
    path.rename(tmp_path / "moved")
    path.write_text("somebody else's")
    listener.close()
    assert path.read_text() == "somebody else's"


def test_other_files_and_long_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("data")
    with pytest.raises(ListenError, match="is no socket"):
        open_unix(tmp_path / "file")
    with pytest.raises(ListenError, match="107 bytes"):
        open_unix(tmp_path / ("x" * 108))
    with pytest.raises(ListenError, match="No such file"):
        open_unix(tmp_path / "missing" / "s")
    assert (tmp_path / "file").read_text() == "data"


def test_callers_differ_by_what_the_connection_proves() -> None:
    assert Caller("unix", local=True) != Caller("unix")
