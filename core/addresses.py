"""The URLs a node listens on and advertises, read strictly."""

import ipaddress
from urllib.parse import urlsplit

import msgspec


class Url(msgspec.Struct, frozen=True, order=True):
    """`scheme://host:port`, nothing else. An IPv6 host is kept without its brackets."""

    scheme: str
    """`http` or `https`."""
    host: str
    port: int
    """0: any free port, for listening only."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach it."""
        if self.host == "localhost":
            return True
        address = _address(self.host)
        return address is not None and address.is_loopback

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every address of the host, so that nobody can be told to connect to it."""
        address = _address(self.host)
        return address is not None and address.is_unspecified

    @property
    def bindable(self) -> bool:
        """Whether it names an address a socket can be bound to without asking a name server."""
        return self.host == "localhost" or _address(self.host) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def parse(text: str) -> Url:
    """The URL in `text`; ValueError with a sentence for people if it is not one of ours."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{text!r} does not begin with http:// or https://; write it like http://127.0.0.1:2379")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{text!r} has more than a scheme, a host and a port; write it like http://127.0.0.1:2379")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"the port in {text!r} is not a number from 0 to 65535") from None
    if not parts.hostname:
        raise ValueError(f"{text!r} names no host; write it like http://127.0.0.1:2379")
    if port is None:
        raise ValueError(f"{text!r} names no port; write it like {parts.scheme}://{parts.netloc}:2379")
    return Url(parts.scheme, parts.hostname, port)
