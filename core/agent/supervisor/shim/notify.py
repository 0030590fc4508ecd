"""The socket behind NOTIFY_SOCKET: what a unit's processes tell of themselves.

An abstract name, so that it needs no directory that every user may enter. Anybody may send to it; the kernel says who
did, and `allowed` of the caller decides. Descriptors that come along are closed, which is what a barrier waits for.
"""

import _socket
import os
import struct

SO_PASSCRED, SCM_RIGHTS, SCM_CREDENTIALS = 16, 1, 2
LONGEST = 4096
FORM = "iII"


class Notices:
    """The receiving end."""

    def __init__(self) -> None:
        self._socket = _socket.socket(
            _socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        )
        self._socket.setsockopt(_socket.SOL_SOCKET, SO_PASSCRED, 1)
        name = "corenode/" + os.urandom(16).hex()
        self._socket.bind(b"\0" + name.encode())
        self.address = "@" + name
        """The value of NOTIFY_SOCKET."""

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> tuple[int, int, dict[str, str]] | None:
        """Sender's process and user, and what it told; None if there is nothing."""
        try:
            data, extra, _, _ = self._socket.recvmsg(LONGEST, 1024)
        except BlockingIOError:
            return None
        pid = user = 0
        for level, kind, body in extra:
            if level == _socket.SOL_SOCKET and kind == SCM_CREDENTIALS:
                pid, user, _ = struct.unpack(FORM, body[: struct.calcsize(FORM)])
            elif level == _socket.SOL_SOCKET and kind == SCM_RIGHTS:
                for (file,) in struct.iter_unpack("i", body[: len(body) // 4 * 4]):
                    os.close(file)
        lines = data.decode("utf-8", "replace").split("\n")
        return pid, user, {key: value for key, equals, value in (line.partition("=") for line in lines) if equals}
