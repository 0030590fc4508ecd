"""The floors of the house and the edges between its rooms, as data, and the check that holds imports to them.

A room is a package or module. `ROOMS` gives its floor, the rooms it may import and the libraries it may import; an
import that is not listed is an error. A room named deeper wins: `core.api.v2` before `core.api`.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.rules.source import Source


@dataclass(frozen=True)
class Room:
    """Where a room stands, and what it may use of the project and of other people's libraries."""

    floor: int
    rooms: str = ""
    libraries: str = ""


ROOMS = {
    # 0 rules: nothing but themselves
    "core": Room(0),
    "core.version": Room(0),
    "core.addresses": Room(0, libraries="msgspec"),
    "core.join_token": Room(0, libraries="msgspec"),
    "core.raft": Room(0, libraries="msgspec"),
    "core.kv": Room(0, libraries="msgspec sortedcontainers"),
    "core.partitions": Room(0, libraries="msgspec"),
    "core.sched": Room(0, libraries="msgspec sortedcontainers"),
    "core.update.keys": Room(0, libraries="msgspec"),
    "core.update.records": Room(0, libraries="msgspec"),
    "core.update.versions": Room(0),
    "core.update.plan": Room(0, "core.update.records core.update.versions", "msgspec"),
    # 1 drivers: plain synchronous code
    "core.store_lmdb": Room(1, "core.raft core.kv", "lmdb msgspec"),
    "core.tls": Room(1, libraries="cryptography"),
    "core.trust": Room(1, "core.tls", "msgspec cryptography tuf securesystemslib"),
    "core.partitions.device": Room(1, "core.partitions", "msgspec"),
    "core.partitions.in_use": Room(1, "core.partitions.device", "msgspec"),
    "core.partitions.disk": Room(1, "core.partitions core.partitions.device"),
    "core.partitions.fat": Room(1, "core.partitions.device", "msgspec"),
    "core.partitions.boot": Room(
        1, "core.partitions core.partitions.device core.partitions.disk core.partitions.fat", "msgspec"
    ),
    "core.images": Room(
        1,
        "core.partitions core.partitions.boot core.partitions.device core.partitions.disk core.partitions.fat",
        "msgspec zstandard",
    ),
    # 2 tasks
    "core.watch": Room(2, "core.kv", "trio sortedcontainers"),
    "core.node": Room(2, "core.raft core.kv core.store_lmdb core.watch", "trio msgspec"),
    "core.peer": Room(2, "core.addresses core.tls", "trio h11 cbor2 msgspec"),
    # 3 services
    "core.api.http": Room(3, libraries="trio h11 msgspec"),
    "core.api": Room(3, "core.addresses core.raft core.kv core.node core.api.http", "msgspec"),
    "core.api.access": Room(3, "core.kv core.tls core.sched core.update.keys core.api core.api.http", "trio msgspec"),
    "core.api.v2": Room(3, "core.raft core.kv core.node core.api core.api.http core.api.access", "trio msgspec"),
    "core.api.v3": Room(3, "core.kv core.node core.api core.api.http core.api.access core.api.v2", "trio msgspec"),
    "core.api.ops": Room(
        3,
        "core.addresses core.join_token core.raft core.kv core.tls core.node core.api core.api.http core.api.access",
        "trio msgspec prometheus_client",
    ),
    "core.api.fleet": Room(
        3, "core.addresses core.kv core.api core.api.http core.api.access core.client core.sched", "trio msgspec"
    ),
    "core.api.fleetlock": Room(3, "core.kv core.api core.api.http core.api.access core.client core.update", "msgspec"),
    "core.api.updates": Room(3, "core.api core.api.http", "msgspec"),
    "core.client": Room(
        3, "core.addresses core.join_token core.kv core.sched core.tls core.node core.images", "trio httpcore msgspec"
    ),
    "core.depot": Room(
        3,
        "core.tls core.images core.trust core.client core.update.keys",
        "trio msgspec zstandard securesystemslib tuf",
    ),
    "core.api.images": Room(
        3,
        "core.kv core.images core.trust core.api core.api.http core.api.access core.client core.depot",
        "trio msgspec",
    ),
    "core.api.omaha": Room(
        3,
        "core.images core.api core.api.http core.api.access core.client core.depot core.update.keys core.update.plan"
        " core.update.records",
        "trio msgspec",
    ),
    "core.update": Room(
        3, "core.client core.sched core.update.keys core.update.plan core.update.records", "trio msgspec"
    ),
    "core.update.host": Room(
        3,
        "core.partitions core.partitions.boot core.partitions.device core.partitions.disk core.partitions.in_use"
        " core.tls core.trust core.images core.client core.sched core.update core.update.keys core.update.records",
        "trio msgspec",
    ),
    "core.agent": Room(3, "core.sched core.client", "trio msgspec h11"),
    "core.agent.supervisor": Room(3, "core.sched core.agent core.agent.supervisor.shim", "trio msgspec"),
    "core.agent.supervisor.shim": Room(3),  # one runs for each unit: it is kept small
    "core.agent.systemd": Room(
        3, "core.sched core.agent core.agent.supervisor core.agent.supervisor.shim", "trio jeepney"
    ),
    "core.engine": Room(3, "core.sched core.client", "trio msgspec"),
    # 4 wiring
    "core.machine_id": Room(4),
    "core.setting_texts": Room(4, "core.addresses core.machine_id"),
    "core.settings": Room(4, "core.setting_texts", "msgspec"),
    "core.config": Room(4, "core.addresses core.settings core.update", "msgspec"),
    "core.logs": Room(4, libraries="msgspec"),
    "core.admission": Room(4, "core.kv core.node core.tls core.api.http", "trio"),
    "core.credentials": Room(4, "core.tls core.api.http core.config", "trio"),
    "core.renewal": Room(4, "core.tls core.client core.config core.credentials", "trio msgspec cryptography"),
    "core.runtime_dir": Room(4, libraries="msgspec"),
    "core.service": Room(4, libraries="trio"),
    "core.slowness": Room(4, "core.api core.node", "trio msgspec"),
    "core.welcome": Room(4, "core.addresses core.config core.logs"),
    "core.this_host": Room(4, "core.version core.addresses core.config core.sched"),
    "core.claiming": Room(4, "core.kv core.node core.member core.runtime_dir", "trio"),
    "core.hosting": Room(
        4,
        "core.api core.api.fleet core.client core.sched core.agent core.agent.supervisor core.agent.systemd"
        " core.config core.service core.update core.updating",
        "trio",
    ),
    "core.updating": Room(
        4,
        "core.tls core.trust core.api.updates core.client core.sched core.update core.update.host core.update.versions"
        " core.config core.service",
        "trio",
    ),
    "core.managing": Room(
        4,
        "core.addresses core.kv core.tls core.api core.api.http core.api.access core.api.fleet core.api.fleetlock"
        " core.api.updates core.claiming core.client core.config core.engine core.hosting core.machine_id core.member"
        " core.service core.this_host core.update",
        "trio",
    ),
    "core.imaging": Room(
        4,
        "core.api core.api.access core.api.images core.api.omaha core.client core.config core.depot core.service"
        " core.update core.update.plan",
        "trio msgspec",
    ),
    "core.founding": Room(4, "core.addresses core.raft core.kv core.store_lmdb core.config", "msgspec"),
    "core.peering": Room(
        4,
        "core.version core.addresses core.kv core.store_lmdb core.tls core.node core.peer core.api.v2 core.config",
        "trio msgspec",
    ),
    "core.joining": Room(
        4,
        "core.addresses core.kv core.store_lmdb core.tls core.api.v2 core.client core.setting_texts core.config"
        " core.founding",
        "msgspec",
    ),
    "core.salvage": Room(
        4,
        "core.raft core.kv core.store_lmdb core.watch core.node core.client core.config core.peering core.joining",
        "trio msgspec",
    ),
    "core.member": Room(
        4,
        "core.version core.raft core.kv core.store_lmdb core.watch core.node core.peer core.config core.founding"
        " core.peering",
        "trio",
    ),
    "core.reshaping": Room(4, "core.raft core.kv core.node core.api core.api.v2 core.api.v3"),
    "core.enrolment": Room(
        4,
        "core.kv core.sched core.tls core.api core.api.http core.api.access core.api.ops core.config core.credentials"
        " core.member",
        "trio",
    ),
    "core.views": Room(
        4,
        "core.version core.raft core.kv core.tls core.node core.peer core.api core.api.http core.api.v2 core.api.v3"
        " core.api.ops core.client core.config core.credentials core.member core.reshaping core.update",
        "trio",
    ),
    "core.process": Room(
        4,
        "core.addresses core.tls core.api.http core.config core.credentials core.runtime_dir core.service core.welcome",
        "trio",
    ),
    "core.daemon": Room(
        4,
        "core.version core.addresses core.store_lmdb core.node core.api core.api.http core.api.access core.api.v2"
        " core.api.v3 core.api.images core.api.ops core.admission core.config core.credentials core.logs"
        " core.process core.service core.slowness core.client core.enrolment core.hosting core.imaging"
        " core.managing core.peer core.joining core.renewal core.salvage core.member core.views",
        "trio",
    ),
    "core.relay": Room(4, "core.api core.api.http core.api.access core.client", "trio h11 msgspec"),
    "core.worker": Room(
        4,
        "core.version core.addresses core.kv core.store_lmdb core.tls core.api core.api.http core.api.access"
        " core.admission core.api.fleet core.api.ops core.api.updates core.client core.config core.credentials"
        " core.hosting core.logs core.process core.relay core.renewal core.service core.slowness core.this_host"
        " core.views",
        "trio",
    ),
    "core.commands": Room(
        4,
        "core.version core.join_token core.raft core.kv core.store_lmdb core.tls core.client core.setting_texts"
        " core.settings core.config core.founding core.logs core.machine_id core.runtime_dir core.service core.daemon"
        " core.worker core.update core.update.keys core.update.records"
        " core.partitions core.partitions.boot core.partitions.device core.partitions.disk core.partitions.in_use"
        " core.sched core.trust"
        " core.images",
        "click rich trio msgspec cryptography securesystemslib tuf",
    ),
    "core.etcd_name": Room(
        4,
        "core.version core.addresses core.api.v3 core.setting_texts core.config core.commands",
        "msgspec yaml",
    ),
    "core.goflags": Room(4),
    "core.locksmithctl_name": Room(4, "core.version core.client core.update core.goflags core.commands"),
    "core.fleetctl_name": Room(4, "core.version core.sched core.client core.goflags core.commands", "trio msgspec"),
    "cli": Room(4, "core.version core.commands core.etcd_name core.fleetctl_name core.locksmithctl_name", "click"),
}

SAME_FLOOR = {
    ("core.images", "core.partitions.boot"): "a boot loader is told before and after a slot is written",
    ("core.images", "core.partitions.fat"): "the boot partition of a new disk is filled",
    ("core.images", "core.partitions.device"): "an image is written to a slot, which is part of a device",
    ("core.images", "core.partitions.disk"): "a slot is marked in the table of its disk before and after",
    ("core.node", "core.watch"): "the drive loop publishes what it has applied",
    ("core.trust", "core.tls"): "its files are written as those of the authority: durable, private from the first byte",
    ("core.update.host", "core.client"): "services never reach into the store, they speak its client",
    ("core.update", "core.client"): "services never reach into the store, they speak its client",
    ("core.depot", "core.client"): "services never reach into the store, they speak its client",
    ("core.depot", "core.update.keys"): "what is served has its keys in the world of updates",
    ("core.api.images", "core.client"): "services never reach into the store, they speak its client",
    ("core.api.images", "core.depot"): "the doors of what the cluster serves",
    ("core.api.omaha", "core.client"): "services never reach into the store, they speak its client",
    ("core.api.omaha", "core.depot"): "the packages that the cluster serves",
    ("core.api.fleetlock", "core.client"): "services never reach into the store, they speak its client",
    ("core.api.fleetlock", "core.update"): "the lock behind those doors is the one of this cluster's own hosts",
    ("core.api.fleet", "core.client"): "services never reach into the store, they speak its client",
    ("core.engine", "core.client"): "services never reach into the store, they speak its client",
    ("core.agent", "core.client"): "services never reach into the store, they speak its client",
}
"""Edges between neighbours below the wiring, each with its reason."""

PURE = """
    __future__ abc base64 bisect collections contextlib copy dataclasses enum functools hashlib heapq hmac ipaddress
    itertools math operator re string struct types typing urllib.parse zlib
"""
"""What the rules on floor 0 may take from the standard library: nothing with files, clocks, chance or tasks in it."""

PURE_NAMES = {"random": {"Random"}, "uuid": {"UUID"}}
"""Generators are passed in; only their type may be named."""

IMPURE_CALLS = frozenset({"open", "print", "input", "breakpoint", "exec", "eval"})

TASK_MODULES = frozenset({"asyncio", "threading", "_thread", "concurrent.futures", "multiprocessing"})
"""Nothing runs beside Trio but what the disk thread of decision 9 needs, which lives in `core.node`."""

THREADED = {"core.images": "hashing and unpacking an image takes all processors, in threads that end with the call"}
"""Drivers with threads of their own, each with its reason."""


def room_of(module: str, rooms: dict[str, Room]) -> str | None:
    """The room that holds a module, or None if it is none of the project's."""
    while module:
        if module in rooms:
            return module
        module = module.rpartition(".")[0]
    return None


def imports(source: Source) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of everything a file imports, wherever in it; the name is empty for `import module`."""
    package = source.module if source.path.endswith("__init__.py") else source.module.rpartition(".")[0]
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, base, alias.name


def target_of(module: str, name: str, modules: frozenset[str]) -> str:
    """`from core.api import store` imports the module core.api.store; `from core.api.store import Store` as well."""
    deeper = f"{module}.{name}"
    return deeper if deeper in modules else module


def _library_problem(room_name: str, room: Room, module: str, name: str) -> str | None:
    floor, top = room.floor, module.partition(".")[0]
    if top not in sys.stdlib_module_names:
        return None if top in room.libraries.split() else f"library {top} is not listed for this room"
    pure = module in PURE.split() or top in PURE.split() or name in PURE_NAMES.get(module, ())
    if floor == 0 and not pure:
        return f"{module}{'.' + name if name else ''} is not for rules: no I/O, clock, chance or tasks on floor 0"
    threads = module == "concurrent.futures" and room_name in THREADED
    if floor < 2 and (top in TASK_MODULES or module in TASK_MODULES) and not threads:
        return f"{module}: drivers are plain synchronous code"
    return None


def violations(files: list[Source], rooms: dict[str, Room]) -> list[str]:
    """Every import that the table does not list, each as `path:line: from -> to: why`."""
    modules = frozenset(file.module for file in files)
    found = []
    for file in files:
        name = room_of(file.module, rooms)
        if name is None or (name == "core" and file.module != "core"):
            found.append(f"{file.path}: belongs to no room of the table")
            continue
        room = rooms[name]
        for line, module, part in imports(file):
            target = target_of(module, part, modules)
            other = room_of(target, rooms)
            if other is None:
                problem = _library_problem(name, room, module, part)
                if problem is not None:
                    found.append(f"{file.path}:{line}: {problem}")
            elif other not in (name, *room.rooms.split()):
                found.append(f"{file.path}:{line}: {name} -> {other} ({target}) is not listed")
        if room.floor == 0:
            found += _impure_calls(file)
    return found


def _impure_calls(file: Source) -> list[str]:
    return [
        f"{file.path}:{node.lineno}: {node.func.id}() is not for rules"
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    ]


def upward_edges(rooms: dict[str, Room], same_floor: dict[tuple[str, str], str]) -> list[str]:
    """Edges of the table itself that do not go down: a floor may use only floors below it.

    The parts of one service may use each other, and so may the parts of the wiring.
    """
    found = []
    for name, room in rooms.items():
        for other in room.rooms.split():
            below = rooms[other].floor < room.floor
            wiring = room.floor == rooms[other].floor == 4
            one_service = room.floor == rooms[other].floor and name.split(".")[:2] == other.split(".")[:2]
            if not (below or wiring or one_service or (name, other) in same_floor):
                found.append(f"{name} (floor {room.floor}) -> {other} (floor {rooms[other].floor})")
    return found


def unused_edges(files: list[Source], rooms: dict[str, Room]) -> list[str]:
    """Rooms and libraries the table allows although nothing imports them: permissions nobody needs."""
    modules = frozenset(file.module for file in files)
    used: dict[str, set[str]] = {name: set() for name in rooms}
    for file in files:
        name = room_of(file.module, rooms)
        if name is not None:
            for _, module, part in imports(file):
                used[name].add(room_of(target_of(module, part, modules), rooms) or module.partition(".")[0])
    return [
        f"{name} -> {other}"
        for name, room in rooms.items()
        for other in (*room.rooms.split(), *room.libraries.split())
        if other not in used[name]
    ]
