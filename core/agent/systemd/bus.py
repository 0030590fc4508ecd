"""A connection to D-Bus: calls with their replies, and signals, each handed over in the order in which they came."""

from collections.abc import Callable
from typing import Any

import trio
from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, message_bus, new_method_call
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus import get_bus
from jeepney.io.trio import DBusConnection

CALLS = 32
"""Calls on their way at a time; dbus-daemon refuses more than 128 open replies a connection."""

CALL_SECONDS = 25.0
CONNECT_SECONDS = 5.0

Body = tuple[Any, ...]

_AWAY = (
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.Timeout",
    "org.freedesktop.DBus.Error.TimedOut",
    "org.freedesktop.DBus.Error.Spawn.",
)
"""Errors that say nothing of what was asked for, only that nobody was there to ask."""


class BusGoneError(Exception):
    """D-Bus, or whom it was to reach, is not there; the text says so."""


class CallError(Exception):
    """The other side answered with an error."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        """`org.freedesktop.systemd1.NoSuchUnit`"""
        self.text = text
        super().__init__(f"{text} ({name})")


class Signal:
    """A signal as it came."""

    def __init__(self, sender: str, path: str, member: str, body: Body) -> None:
        self.sender = sender
        """The unique name of who sent it, as the bus vouches: anyone may send us signals."""
        self.path = path
        self.member = member
        self.body = body


class _Reply:
    def __init__(self, heard: Callable[[Body], None] | None) -> None:
        self.heard = heard
        self.came = trio.Event()
        self.body: Body = ()
        self.error: CallError | BusGoneError | None = None


class Bus:
    """One connection; `connect` makes it."""

    def __init__(self, connection: DBusConnection, signal: Callable[[Signal], None]) -> None:
        self._connection = connection
        self._signal = signal
        self._replies: dict[int, _Reply] = {}
        self._room = trio.CapacityLimiter(CALLS)
        self.closed = trio.Event()

    async def call(
        self,
        address: DBusAddress,
        method: str,
        signature: str = "",
        body: Body = (),
        *,
        heard: Callable[[Body], None] | None = None,
        seconds: float = CALL_SECONDS,
    ) -> Body:
        """A method call and its reply. `heard` is given the reply before any signal that came after it, which the
        caller, who has to wait for his turn, is not. CallError, BusGoneError."""
        message = new_method_call(address, method, signature or None, body)
        async with self._room:
            if self.closed.is_set():
                raise BusGoneError("the connection to D-Bus is closed")
            serial = next(self._connection.outgoing_serial)
            reply = self._replies[serial] = _Reply(heard)
            try:
                with trio.fail_after(seconds):
                    await self._connection.send(message, serial=serial)
                    await reply.came.wait()
            except trio.TooSlowError:
                raise BusGoneError(f"no answer to {method} in {seconds:g} s") from None
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise BusGoneError(f"the connection to D-Bus broke: {error}") from None
            finally:
                self._replies.pop(serial, None)
        if reply.error is not None:
            raise reply.error
        return reply.body

    async def match(self, **rule: str) -> None:
        """Ask for signals: `interface`, `member`, `path_namespace`, `arg0` as in D-Bus's match rules."""
        first = rule.pop("arg0", None)
        wanted = MatchRule(type="signal", **rule)
        if first is not None:
            wanted.add_arg_condition(0, first)
        asked = message_bus.AddMatch(wanted)
        await self.call(message_bus, "AddMatch", "s", asked.body)

    def close(self) -> None:
        """Let go of it: calls that wait end with BusGoneError."""
        self.closed.set()
        self._connection.socket.close()
        for reply in self._replies.values():
            reply.error = reply.error or BusGoneError("the connection to D-Bus was closed before the answer came")
            reply.came.set()

    async def read(self) -> None:
        """Until the connection ends."""
        try:
            while True:
                self._take(await self._connection.receive())
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.close()

    def _take(self, message: Any) -> None:
        fields = message.header.fields
        if message.header.message_type is MessageType.signal:
            sender, path = fields.get(HeaderFields.sender, ""), fields.get(HeaderFields.path, "")
            self._signal(Signal(sender, path, fields.get(HeaderFields.member, ""), message.body))
            return
        reply = self._replies.get(fields.get(HeaderFields.reply_serial, -1))
        if reply is None:
            return  # its caller has given up
        if message.header.message_type is MessageType.error:
            name = fields.get(HeaderFields.error_name, "")
            text = message.body[0] if message.body and isinstance(message.body[0], str) else name
            reply.error = BusGoneError(text) if name.startswith(_AWAY) else CallError(name, text)
        else:
            reply.body = message.body
            if reply.heard is not None:
                reply.heard(message.body)
        reply.came.set()


async def connect(address: str, signal: Callable[[Signal], None], nursery: trio.Nursery) -> Bus:
    """A connection to the bus at a D-Bus address, or `SYSTEM` or `SESSION`; `signal` is called for each signal and must
    not block. One task in the nursery reads it until it is closed. BusGoneError if there is none."""
    try:
        with trio.fail_after(CONNECT_SECONDS):
            bus = Bus(await _greeted(get_bus(address)), signal)
    except (OSError, KeyError, RuntimeError, AuthenticationError, trio.TooSlowError, trio.BrokenResourceError) as error:
        raise BusGoneError(f"no connection to D-Bus ({address}): {error or 'no answer'}") from None
    nursery.start_soon(bus.read)
    try:
        await bus.call(message_bus, "Hello", seconds=CONNECT_SECONDS)
    except BaseException:
        bus.close()
        raise
    return bus


async def _greeted(socket: str) -> DBusConnection:
    """A connection that has said who it is."""
    stream = await trio.open_unix_socket(socket)
    try:
        await stream.send_all(b"\0")
        authenticator = Authenticator(inc_null_byte=False)
        for request in authenticator:
            await stream.send_all(request)
            answer = await stream.receive_some()
            if not answer:
                raise trio.BrokenResourceError("closed before it let us in")
            authenticator.feed(answer)
        await stream.send_all(BEGIN)
    except BaseException:
        stream.socket.close()
        raise
    return DBusConnection(stream.socket)
