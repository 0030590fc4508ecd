"""The options of every verb that talks to a node, and the talk itself.

httpcore and Trio are imported when a verb connects, not when its help is shown.
"""

import functools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client import Store
    from core.client.credentials import ClientCredentials
    from core.client.endpoints import Endpoint
    from core.client.transport import Transport

T = TypeVar("T")
DEFAULT_TIMEOUT = 10.0


class Connection(NamedTuple):
    """What the options said."""

    endpoints: str | None
    cacert: Path | None
    cert: Path | None
    key: Path | None
    user: str | None
    timeout: float

    def find(self) -> "list[Endpoint]":
        """The endpoints given, else those of the newest node running here (decision 18), else the default.

        Of a local node its unix socket is taken if we may open it: it is the door to everything, and needs no TLS.
        """
        from core.client.endpoints import DEFAULT, parse_list
        from core.runtime_dir import read_node_file

        try:
            if self.endpoints is not None:
                return parse_list(self.endpoints)
        except ValueError as error:
            raise click.UsageError(f"--endpoints: {error}.") from None
        node = read_node_file()
        if node is None:
            return parse_list(DEFAULT)
        if os.access(node.socket, os.R_OK | os.W_OK):
            return parse_list(f"unix://{node.socket}")
        return parse_list(",".join(node.endpoints))

    def open(self, *endpoints: "Endpoint") -> "Transport":
        """A transport to these endpoints, or to all that `find` finds."""
        from core.client.transport import Transport

        chosen = list(endpoints) or self.find()
        tls = self.tls() if any(endpoint.secure for endpoint in chosen) else None
        return Transport(chosen, tls, self._authorization())

    def run(self, work: "Callable[[Transport], Awaitable[T]]") -> T:
        """Run `work` with a connection; what can be expected to go wrong becomes a Failure."""
        import trio

        from core.client.errors import ClientError

        transport = self.open()

        async def connected() -> T:
            async with transport:
                return await work(transport)

        try:
            return trio.run(connected)
        except ClientError as error:
            raise Failure(explain(error)) from None

    def run_store(self, work: "Callable[[Store], Awaitable[T]]") -> T:
        """The same with a store of the v3 dialect, which a node shares with etcd."""
        import trio

        from core.client.errors import ClientError
        from core.client.remote import RemoteStore
        from core.client.transport import Transport

        endpoints = self.find()
        tls = self.tls() if any(endpoint.secure for endpoint in endpoints) else None
        user, password = self.credentials() or (None, "")

        async def connected() -> T:
            async with RemoteStore(Transport(endpoints, tls), user, password, self.timeout) as store:
                return await work(store)

        try:
            return trio.run(connected)
        except ClientError as error:
            raise Failure(explain(error)) from None

    def tls(self) -> "ClientCredentials":
        """What is trusted and shown over https://."""
        from core.client.credentials import ClientCredentials
        from core.tls.contexts import TlsFilesError

        if bool(self.cert) != bool(self.key):
            raise click.UsageError("--cert and --key belong together.")
        try:
            return ClientCredentials(self.cacert, self.cert, self.key)
        except TlsFilesError as error:
            raise Failure(f"{error}.") from None

    def _authorization(self) -> str | None:
        credentials = self.credentials()
        return None if credentials is None else basic(*credentials)

    def asked(self) -> "Connection":
        """The same with the password, so that it is asked for once."""
        credentials = self.credentials()
        return self if credentials is None else self._replace(user=":".join(credentials))

    def credentials(self) -> tuple[str, str] | None:
        """User and password."""
        if self.user is None:
            return None
        name, colon, password = self.user.partition(":")
        if not colon:
            password = click.prompt(f"Password of {name}", hide_input=True, err=True)
        return name, password


def basic(user: str, password: str) -> str:
    """How a user is shown to the v2 dialect."""
    from base64 import b64encode

    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def explain(error: Exception) -> str:
    """An error of the client for people, with what to do next."""
    from core.client.errors import OutcomeUnknownError, UnreachableError

    if isinstance(error, UnreachableError):
        lines = "; ".join(f"{endpoint}: {why}" for endpoint, why in error.reasons.items())
        hint = "Is it running? Start one with `corenode up`, or name one with --endpoints."
        if all(why.startswith("TLS") for why in error.reasons.values()):
            hint = "Name the authority of its certificate with --cacert, and your own with --cert and --key."
        return f"No node answers ({lines}).\n{hint}"
    text = str(error)
    if not {".", ":"} & set(text.partition(" ")[0].rstrip(":")):  # no URL, no unit's name
        text = text[:1].upper() + text[1:]
    if isinstance(error, OutcomeUnknownError):
        return f"{text}.\nLook before you repeat it, or repeat it with a condition (--swap-with-index)."
    return f"{text}."


cluster_option = click.option("--cluster", is_flag=True, help="Ask every member of the cluster.")

_OPTIONS = (
    click.option("--endpoints", metavar="URLS", help="Nodes to try in turn: http://, https:// or unix:///PATH.",
                 envvar="CORENODE_ENDPOINTS"),
    click.option("--cacert", metavar="FILE", type=click.Path(path_type=Path), envvar="CORENODE_CACERT",
                 help="Authority that signed the nodes' certificates, PEM."),
    click.option("--cert", metavar="FILE", type=click.Path(path_type=Path), envvar="CORENODE_CERT",
                 help="Own client certificate, PEM."),
    click.option("--key", "key_file", metavar="FILE", type=click.Path(path_type=Path), envvar="CORENODE_KEY",
                 help="Its private key, PEM."),
    click.option("--user", metavar="NAME[:PASSWORD]", envvar="CORENODE_USER",
                 help="User; the password is asked for if left out."),
    click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), show_default=True,
                 default=DEFAULT_TIMEOUT, envvar="CORENODE_TIMEOUT", help="How long one request may take."),
)  # fmt: skip
VARIABLES = frozenset(f"CORENODE_{name}" for name in ("ENDPOINTS", "CACERT", "CERT", "KEY", "USER", "TIMEOUT"))
"""The environment variables that these options read."""


def connection_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the verb gets them as `connection`."""

    @functools.wraps(verb)
    def wrapper(
        *args: Any,
        endpoints: str | None,
        cacert: Path | None,
        cert: Path | None,
        key_file: Path | None,
        user: str | None,
        timeout: float,
        **kwargs: Any,
    ) -> Any:
        connection = Connection(endpoints, cacert, cert, key_file, user, timeout)
        return verb(*args, connection=connection, **kwargs)

    result: Callable[..., Any] = wrapper
    for option in reversed(_OPTIONS):
        result = option(result)
    return result
