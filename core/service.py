"""What a service owes systemd: saying when it is ready, reloads, stops, and that it is alive (sd_notify).

Started by anything else, all of this does nothing.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, MutableMapping

import trio

log = logging.getLogger(__name__)

SEND_SECONDS = 0.1
"""How long a message waits for room in systemd's queue before it is given up and logged."""

EXTENSION_SECONDS = 20.0
"""How long systemd waits for another word from a node that ends and asks for time."""


class StartError(Exception):
    """The node cannot start. The text says what, why, and what to do next; `corenode up` prints it and exits 1."""


class Notifier:
    """The line to the service manager. The variables are taken out of the environment, so no child speaks for us."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        period = environ.pop("WATCHDOG_USEC", "")
        keeper = environ.pop("WATCHDOG_PID", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self.watchdog_seconds = math.inf
        """How long systemd waits for a sign of life; infinite: it does not ask for any."""
        if self._address and period.isdecimal() and keeper in ("", str(os.getpid())):
            self.watchdog_seconds = int(period) / 1e6

    def ready(self, status: str) -> None:
        """All listeners are open and requests are served."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows."""
        self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading")

    def stopping(self) -> None:
        """An orderly end has begun."""
        self._send("STOPPING=1\nSTATUS=stopping")

    async def ask_for_time(self) -> None:
        """Run beside an end that may take longer than the unit file says; never returns."""
        while True:
            self._send(f"EXTEND_TIMEOUT_USEC={int(EXTENSION_SECONDS * 1e6)}")
            await trio.sleep(EXTENSION_SECONDS / 2)

    async def feed_watchdog(self, alive: Callable[[], bool] = lambda: True) -> None:
        """Run beside everything else: a sign of life twice a period, for as long as the loop turns and `alive` agrees.

        Returns at once if systemd does not watch.
        """
        if math.isinf(self.watchdog_seconds):
            return
        while True:
            if alive():
                self._send("WATCHDOG=1")
            else:
                log.error("no sign of life given to systemd: the node is stuck", extra={"cause": "watchdog"})
            await trio.sleep(self.watchdog_seconds / 2)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.settimeout(SEND_SECONDS)
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            log.warning("systemd could not be told", extra={"message_sent": message.split("\n")[0], "why": str(error)})
