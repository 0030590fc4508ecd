"""Ending connections from outside: their time is over, too many came, or the server stops."""

from core.api.http.connection import Connection
from core.api.http.conversation import Conversation
from core.api.http.hub import Hub
from core.api.http.state import HANDSHAKE, IDLE, LINGERING, RECEIVING
from core.api.http.turned_away import Kind


def expire(hub: Hub, connection: Connection) -> None:
    """Its deadline has passed."""
    refused = hub.counters.refused
    state = connection.state
    if state is RECEIVING:
        connection.refuse(408, f"the request was not complete after {hub.limits.request_s:g} seconds")
        return
    if state is HANDSHAKE:
        refused["handshake"] += 1
        hub.turned_away(Kind.HANDSHAKE, connection.caller.address, "it did not finish the TLS handshake in time")
    elif state is IDLE:
        refused["idle"] += 1
    elif isinstance(connection.outlet, Conversation) and connection.outlet.expire():
        return
    elif state is not LINGERING:
        refused["slow-reader"] += 1
    connection.close()


def make_room(hub: Hub, connection: Connection) -> None:
    """It was here longest of too many who have not made themselves known."""
    if connection.state is HANDSHAKE:
        hub.counters.refused["handshake"] += 1
        cause = "it did not finish the TLS handshake before too many others came"
        hub.turned_away(Kind.HANDSHAKE, connection.caller.address, cause)
    else:
        hub.counters.refused["newcomer"] += 1
    connection.close()


def wind_up(connection: Connection) -> None:
    """The server stops: end what is not a request in flight."""
    if connection.state is HANDSHAKE or (
        connection.state is IDLE and not connection.pending and not connection.readable
    ):
        connection.close()
    elif connection.outlet is not None:
        connection.outlet.cancel()
