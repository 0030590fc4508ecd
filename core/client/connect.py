"""Which way to a store: chosen by URL."""

from pathlib import Path

from core.client.credentials import ClientCredentials
from core.client.endpoints import parse_list
from core.client.inside import InsideStore, Node
from core.client.remote import MOST_BYTES, RemoteStore
from core.client.store import Store
from core.client.transport import CALL_SECONDS, Transport

LOCAL = "local:"


def connect(
    url: str,
    *,
    node: Node | None = None,
    user: str | None = None,
    password: str = "",
    cacert: Path | str | None = None,
    cert: Path | str | None = None,
    key: Path | str | None = None,
    seconds: float = CALL_SECONDS,
    most: int = MOST_BYTES,
) -> Store:
    """A store, to be used in `async with`. Nothing is sent before the first call.

    `url` is one of
    - `http://HOST:PORT`, `https://HOST:PORT` or `unix:///PATH`, several separated by commas: members of one cluster
      of corenode, or of etcd 3.4 and newer;
    - `local:`, with `node` the store of the member in this process (`core.node.local.LocalStore`).

    `user` and `password` are exchanged for a token. `cacert` signed the servers' certificates, `cert` and `key` are
    our own; all are PEM files, and may be replaced while the store is used. Each call ends within `seconds`; an answer
    of more than `most` bytes is refused. ValueError says what is wrong with these; `core.tls.contexts.TlsFilesError`
    that a file cannot be used.
    """
    if url == LOCAL:
        if node is None:
            raise ValueError("local: means the node of this process, and none is given")
        return InsideStore(node, seconds)
    if node is not None:
        raise ValueError(f"a node is given, and {url!r} does not mean it; write {LOCAL}")
    if (cert is None) != (key is None):
        raise ValueError("a certificate and its key belong together, and one of them is missing")
    endpoints = parse_list(url)
    tls = None
    if any(endpoint.secure for endpoint in endpoints):
        tls = ClientCredentials(*(None if file is None else Path(file) for file in (cacert, cert, key)))
    return RemoteStore(Transport(endpoints, tls), user, password, seconds, most)
