"""Where a client connects to."""

from urllib.parse import unquote

import msgspec

from core import addresses

DEFAULT = "http://127.0.0.1:2379"


class Endpoint(msgspec.Struct, frozen=True):
    """One way to a node."""

    text: str
    """As given, for messages."""
    origin: str
    """`scheme://host:port` of the requests made there."""
    socket: str | None = None
    """Path of the unix socket, if it is one."""

    @property
    def secure(self) -> bool:
        return self.origin.startswith("https:")


def parse(text: str) -> Endpoint:
    """`http://host:port`, `https://host:port`, `host:port` or `unix:///path`; ValueError with a sentence if neither."""
    if text.startswith("unix:"):
        path = unquote(text.removeprefix("unix:").removeprefix("//"))
        if not path.startswith("/"):
            raise ValueError(f"{text!r} has no absolute path; write it like unix:///run/corenode.sock")
        return Endpoint(text, "http://localhost", path)
    url = addresses.parse(text if "://" in text else f"http://{text}")
    if url.port == 0:
        raise ValueError(f"{text!r}: nobody can connect to port 0")
    return Endpoint(text, str(url))


def parse_list(text: str) -> list[Endpoint]:
    """Endpoints separated by commas, at least one."""
    found = [parse(part.strip()) for part in text.split(",") if part.strip()]
    if not found:
        raise ValueError("the list of endpoints is empty")
    return found
