"""What a person who has just started a node sees: three commands to try."""

import os
import shlex
import sys
from collections.abc import Sequence

from core import logs
from core.addresses import Url
from core.config import Config


def text(program: str, urls: Sequence[Url]) -> str:
    """Put, get and watch, ready to be pasted into another terminal, for a node that serves `urls`."""
    reachable = [url for url in urls if not url.secure] or list(urls)
    first = reachable[0]
    host = "127.0.0.1" if first.wildcard else first.host
    url = Url(first.scheme, host, first.port)
    program = shlex.quote(program)
    get = f"{program} kv get /greeting" if url.secure else f"curl {url}/v2/keys/greeting"
    return (
        f"\ncorenode is ready on {', '.join(str(each) for each in urls)}. In another terminal, try:\n\n"
        f"  {program} kv put /greeting 'hello, world'\n"
        f"  {get}\n"
        f"  {program} kv watch --recursive /\n\n"
    )


def show(config: Config, urls: Sequence[Url]) -> None:
    """Print it, unless standard error is read by machines, as JSON lines or by systemd's journal, or this program was
    called by etcd's name, which has no verbs."""
    if os.path.basename(sys.argv[0]) == "etcd":
        return
    if config.log_format != "json" and not logs.is_journal(os.environ):
        logs.say(text(sys.argv[0], urls))
