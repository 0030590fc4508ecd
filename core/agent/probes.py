"""One health check, made once: over HTTP, TCP, or by a command."""

from urllib.parse import urlsplit

import h11
import trio

from core.agent.executor import Executor, ExecutorError, ExecutorGone
from core.sched.health import Health

HEAD_MAX = 16 * 1024
"""Bytes of an answer that are read at most: only its status counts."""


async def probe(executor: Executor, name: str, check: Health) -> str:
    """Why a check of that unit failed, in words; empty if it passed. Returns within the check's time-out, and for a
    command the time that its start and end take."""
    if check.kind == "exec":
        try:
            return await executor.check(name, check.command, check.timeout)
        except (ExecutorError, ExecutorGone, OSError) as error:
            return f"{check.target}: {error}"
    with trio.move_on_after(check.timeout):
        try:
            return await _http(check.target) if check.kind == "http" else await _tcp(check.target)
        except (OSError, trio.BrokenResourceError) as error:
            return f"{check.target}: {error}"
        except h11.RemoteProtocolError as error:
            return f"{check.target}: what answers is no HTTP: {error}"
        except (ValueError, h11.LocalProtocolError) as error:  # a name or path that cannot be asked for
            return f"{check.target}: {error}"
    return f"{check.target}: no answer within {check.timeout:g} s"


async def _tcp(target: str) -> str:
    parts = urlsplit(f"tcp://{target}")
    async with await trio.open_tcp_stream(parts.hostname or "127.0.0.1", parts.port or 0):
        return ""


async def _http(url: str) -> str:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    headers = [("Host", parts.netloc), ("Connection", "close"), ("User-Agent", "corenode")]
    request = h11.Request(method="GET", target=path, headers=headers)
    async with await trio.open_tcp_stream(parts.hostname or "127.0.0.1", parts.port or 80) as stream:
        await stream.send_all((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                return "" if event.status_code < 400 else f"{url}: {event.status_code}"
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif not isinstance(event, h11.InformationalResponse):
                return f"{url}: the connection was closed without an answer"
