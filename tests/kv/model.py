"""A twin of the state machine that is too simple to be wrong: dicts, copied whole at every revision.

It knows no rows, positions, tables or caches. Each command works on copies, and a refused one throws them away. It is
written from the descriptions of the two dialects, not from the code under test.
"""

from dataclasses import replace

from core.kv import commands as c
from tests.kv.values import Change, Value, Version

SECOND = 1_000_000_000
RESERVED = b"\0corenode/"


class RefusedError(Exception):
    """A command that is not carried out; `args` are the refusal as a value."""


def is_clean(key: bytes) -> bool:
    """Whether v2 sees a key."""
    try:
        parts = key.decode().split("/")
    except UnicodeDecodeError:
        return False
    return 1 < len(parts) <= 257 and parts[0] == "" and all(part not in ("", ".", "..") for part in parts[1:])


def above(path: bytes) -> list[bytes]:
    """The directories above a path, from the top."""
    parts = path.split(b"/")
    return [b"/".join(parts[:n]) for n in range(2, len(parts))]


def below(path: bytes, keys: dict[bytes, Version]) -> list[bytes]:
    """What v2 sees below a directory."""
    return [key for key in keys if key.startswith(path.rstrip(b"/") + b"/") and is_clean(key)]


class Model:
    """The whole state: files (all v3 keys), directories, leases, and every state there was."""

    def __init__(self) -> None:
        self.files: dict[bytes, Version] = {}
        self.directories: dict[bytes, Version] = {}
        self.leases: dict[int, tuple[int, int]] = {}
        """Lease id -> TTL in s, deadline in ns."""
        self.revision = 1
        self.floor = 1
        self.time = 1
        self.states = {1: (self.files, self.directories)}
        self.changes: dict[int, Change] = {}
        """By index."""
        self._fresh: list[Change] = []

    def apply(self, batch: c.Batch) -> tuple[list[Value], list[Change]]:
        """What each command comes to, and the visible changes."""
        self.time = max(self.time, batch.time)
        outcomes = []
        last = self.revision
        for command in batch.commands:
            if isinstance(command, c.Expire):
                outcomes.append(self._expire(command.limit))
            else:
                outcomes.append(self._whole(command))
        return outcomes, [self.changes[index] for index in range(last + 1, self.revision + 1)]

    def _whole(self, command: c.Command) -> Value:
        """A command, or nothing of it."""
        kept = (self.files, self.directories, self.leases, self.revision)
        self.files, self.directories, self.leases = dict(self.files), dict(self.directories), dict(self.leases)
        self._fresh = []
        try:
            done = self._do(command)
        except RefusedError as refused:
            self.files, self.directories, self.leases, self.revision = kept
            return refused.args
        self._settle(*kept)
        return self._final(done, kept[3])

    def _settle(
        self, files: dict[bytes, Version], directories: dict[bytes, Version], leases: object, revision: int
    ) -> None:
        """Give everything the command wrote the revision of its last change; between, the old state shows."""
        for shown in (self.files, self.directories):
            shown.update({key: self._at_last(found, revision) for key, found in shown.items()})
        for change in self._fresh:
            parts = frozenset(self._at_last(part, revision) for part in change.parts)
            self.changes[change.version.index] = Change(self._at_last(change.version, revision), change.previous, parts)
        for index in range(revision + 1, self.revision):
            self.states[index] = (files, directories)
        self.states[self.revision] = (self.files, self.directories)

    def _at_last(self, found: Version, before: int) -> Version:
        if found.index <= before:
            return found
        created = self.revision if found.version == 1 else found.create_revision
        return replace(found, revision=self.revision, create_revision=created)

    def _final(self, done: Value, before: int) -> Value:
        """An outcome with the final revision wherever it tells of a change, also in the answers inside it."""
        if done[0] == "event":
            return ("event", self._at_last(done[1], before), done[2])
        if done[0] == "compacted":
            return done
        revision = self.revision if done[1] > before else before
        match done:
            case ("range", _, found, count):
                return ("range", revision, tuple(self._at_last(one, before) for one in found), count)
            case ("txn", _, succeeded, responses):
                return ("txn", revision, succeeded, tuple(self._final(response, before) for response in responses))
        return (done[0], revision, *done[2:])

    def _do(self, command: c.Command) -> Value:
        match command:
            case c.Set():
                return self._set(command)
            case c.Create():
                return self._create(command)
            case c.Update():
                return self._update(command)
            case c.CompareAndSwap():
                return self._compare_and_swap(command)
            case c.Delete():
                return self._delete(command)
            case c.CompareAndDelete():
                return self._compare_and_delete(command)
            case c.Compact():
                return self._compact(command.revision)
            case c.Txn():
                self._check_duplicates(command)
                return self._run(command, self._chosen(command))
            case c.Put():
                self._check_put(command)
                return self._put(command)
            case c.DeleteRange():
                return self._delete_range(command)
            case c.LeaseGrant():
                return self._grant(command)
            case c.LeaseRevoke():
                return self._revoke(command.id, "delete")
            case c.LeaseKeepAlive():
                return self._keep_alive(command.id)
        raise TypeError(f"no command: {command!r}")

    # The tree

    def look(self, path: bytes) -> Version:
        """What v2 sees at a path."""
        for directory in above(path):
            if directory in self.files:
                raise self._refused(104, directory)
            if directory not in self.directories:
                raise self._refused(100, directory)
        found = self.files.get(path) or self.directories.get(path)
        if found is None:
            raise self._refused(100, path)
        return found

    def listing(self, directory: bytes, revision: int) -> list[Version]:
        """What v2 sees directly in a directory at a revision; a file hides the directory of its name."""
        files, directories = self.states[revision]
        found = {**directories, **files}
        depth = 1 if directory == b"/" else directory.count(b"/") + 1
        return [found[path] for path in sorted(below(directory, found)) if path.count(b"/") == depth]

    def _look_to_write(self, path: bytes) -> Version | None:
        for directory in above(path):
            if directory in self.files:
                raise self._refused(104, directory)
        return self.files.get(path) or self.directories.get(path)

    def _refused(self, code: int, cause: bytes | str) -> RefusedError:
        return RefusedError("TreeError", code, cause if isinstance(cause, str) else cause.decode(), self.revision)

    def _not_root(self, path: bytes) -> None:
        if path == b"/":
            raise self._refused(107, "/")

    def _set(self, command: c.Set) -> Value:
        self._not_root(command.path)
        value = self.look(command.path).value if command.refresh else command.value
        previous = self._look_to_write(command.path)
        if previous is not None and previous.directory:
            raise self._refused(102, command.path)
        return self._make(command.path, "set", value, command.directory, command.ttl, previous, command.refresh)

    def _create(self, command: c.Create) -> Value:
        path = command.path
        if command.in_order:
            path = path.rstrip(b"/") + f"/{self.revision + 1:020}".encode()
        self._not_root(path)
        if self._look_to_write(path) is not None:
            raise self._refused(105, path)
        return self._make(path, "create", command.value, command.directory, command.ttl, None, False)

    def _make(
        self,
        path: bytes,
        action: str,
        value: bytes,
        directory: bool,
        ttl: int | None,
        previous: Version | None,
        refresh: bool,
    ) -> Value:
        index = self.revision + 1
        parts = self._parents(path, index)
        if not directory:
            made = self._written(path, False, index, action, value, previous)
        else:
            made = self._written(path, True, index, action, b"", None)
            for kind in (self.files, self.directories):
                if path in kind:
                    parts.append(_ended(kind.pop(path), index, action))
        made = replace(made, deadline=self._deadline(ttl), refresh=refresh)
        return self._tell(made, previous, parts)

    def _update(self, command: c.Update) -> Value:
        self._not_root(command.path)
        previous = self.look(command.path)
        if not previous.directory:
            return self._rewrite(previous, "update", command.value, command.ttl, command.refresh)
        if command.value:
            raise self._refused(102, command.path)
        made = self._written(command.path, True, self.revision + 1, "update", b"", previous)
        made = replace(made, created=previous.created, modified=previous.modified)
        made = replace(made, deadline=self._deadline(command.ttl), refresh=command.refresh)
        return self._tell(made, previous, [])

    def _compare_and_swap(self, command: c.CompareAndSwap) -> Value:
        self._not_root(command.path)
        previous = self._as_expected(command.path, command.previous_value, command.previous_index)
        return self._rewrite(previous, "compareAndSwap", command.value, command.ttl, command.refresh)

    def _rewrite(self, previous: Version, action: str, value: bytes, ttl: int | None, refresh: bool) -> Value:
        value = previous.value if refresh else value
        made = self._written(previous.key, False, self.revision + 1, action, value, previous)
        made = replace(made, created=previous.created, deadline=self._deadline(ttl), refresh=refresh)
        return self._tell(made, previous, [])

    def _as_expected(self, path: bytes, value: bytes | None, index: int) -> Version:
        found = self.look(path)
        if found.directory:
            raise self._refused(102, path)
        causes = []
        if value is not None and value != found.value:
            causes.append(f"[{value.decode()} != {found.value.decode()}]")
        if index and index != found.modified:
            causes.append(f"[{index} != {found.modified}]")
        if causes:
            raise self._refused(101, " ".join(causes))
        return found

    def _delete(self, command: c.Delete) -> Value:
        self._not_root(command.path)
        found = self.look(command.path)
        if found.directory and not command.recursive:
            if not command.directory:
                raise self._refused(102, command.path)
            if below(command.path, self.files) or below(command.path, self.directories):
                raise self._refused(108, command.path)
        return self._take(found, "delete")

    def _compare_and_delete(self, command: c.CompareAndDelete) -> Value:
        if command.path == b"/":
            raise self._refused(102, "")
        found = self._as_expected(command.path, command.previous_value, command.previous_index)
        return self._take(found, "compareAndDelete")

    def _take(self, found: Version, action: str) -> Value:
        """End a file, or a directory with all below it."""
        index = self.revision + 1
        parts = []
        if found.directory:
            del self.directories[found.key]
            for kind in (self.files, self.directories):
                parts += [_ended(kind.pop(key), index, action) for key in below(found.key, kind)]
        else:
            del self.files[found.key]
        return self._tell(_ended(found, index, action), found, parts)

    # Writing

    def _written(
        self, key: bytes, directory: bool, index: int, action: str, value: bytes, previous: Version | None
    ) -> Version:
        first = previous is None
        return Version(
            key,
            directory,
            index,
            False,
            action,
            value,
            index,
            index,
            index,
            index if first or previous is None else previous.create_revision,
            1 if previous is None else previous.version + 1,
        )

    def _parents(self, path: bytes, index: int) -> list[Version]:
        made = []
        for directory in above(path):
            if directory not in self.directories:
                made.append(self._written(directory, True, index, "create", b"", None))
                self.directories[directory] = made[-1]
        return made

    def _tell(self, changed: Version, previous: Version | None, parts: list[Version]) -> Value:
        if not changed.gone:
            (self.directories if changed.directory else self.files)[changed.key] = changed
        self.revision = changed.index
        self._fresh.append(Change(changed, previous, frozenset(parts)))
        return ("event", changed, previous)

    def _deadline(self, ttl: int | None) -> int:
        return 0 if ttl is None else self.time + ttl * SECOND

    # The flat keyspace

    def in_range(self, key: bytes, end: bytes | None, revision: int | None = None) -> list[Version]:
        """What v3 sees in a range at a revision, or now."""
        files = self.files if revision is None else self.states[revision][0]
        if end is None:
            keys = [key] if key in files else []
        else:
            start = b"" if key == b"\0" else key
            keys = [one for one in sorted(files) if start <= one and (end == b"\0" or one < end)]
        return [files[one] for one in keys if not one.startswith(RESERVED)]

    def _check_put(self, command: c.Put, *, in_txn: bool = False) -> None:
        if command.key.startswith(RESERVED):
            raise RefusedError("ReservedKeyError")
        refusals = []
        if command.lease and command.lease not in self.leases:
            refusals.append("LeaseNotFoundError")
        if (command.ignore_value or command.ignore_lease) and command.key not in self.files:
            refusals.append("KeyNotFoundError")
        if refusals:
            raise RefusedError(refusals[-1] if in_txn else refusals[0])

    def _put(self, command: c.Put) -> Value:
        previous = self.files.get(command.key)
        index = self.revision + 1
        parts = self._parents(command.key, index) if is_clean(command.key) else []
        value = previous.value if previous and command.ignore_value else command.value
        made = self._written(command.key, False, index, "set", value, previous)
        if previous and command.ignore_lease:
            made = replace(made, lease=previous.lease, deadline=previous.deadline)
        else:
            made = replace(made, lease=command.lease)
        self._tell(made, previous, parts)
        return ("put", self.revision, previous)

    def _delete_range(self, command: c.DeleteRange) -> Value:
        found = self.in_range(command.key, command.end)
        for one in found:
            self._take(one, "delete")
        return ("delete", self.revision, tuple(found))

    def _check_range(self, revision: int) -> None:
        if revision > self.revision:
            raise RefusedError("FutureRevisionError")
        if 0 < revision < self.floor:
            raise RefusedError("CompactedError", self.floor)

    def _range(self, command: c.Range) -> Value:
        found = self.in_range(command.key, command.end, command.revision or None)
        return ("range", self.revision, tuple(found[: command.limit or None]), len(found))

    def _check_duplicates(self, command: c.Txn) -> None:
        """Look at every way the inner transactions may go."""
        for operations in _ways(command):
            puts = [operation.key for operation in operations if isinstance(operation, c.Put)]
            if len(puts) != len(set(puts)):
                raise RefusedError("DuplicateKeyError")
            for operation in operations:
                if isinstance(operation, c.DeleteRange):
                    end = operation.key + b"\0" if operation.end is None else operation.end
                    if any(operation.key <= key and (end == b"\0" or key < end) for key in puts):
                        raise RefusedError("DuplicateKeyError")

    def _chosen(self, command: c.Txn) -> list[bool]:
        """The branch of each transaction, outermost first; refused if an operation of one cannot be done."""
        succeeded = all(self._holds(compare) for compare in command.compare)
        chosen = [succeeded]
        for operation in command.success if succeeded else command.failure:
            match operation:
                case c.Put():
                    self._check_put(operation, in_txn=True)
                case c.Range():
                    self._check_range(operation.revision)
                case c.Txn():
                    chosen += self._chosen(operation)
        return chosen

    def _run(self, command: c.Txn, chosen: list[bool]) -> Value:
        succeeded = chosen.pop(0)
        responses = []
        for operation in command.success if succeeded else command.failure:
            match operation:
                case c.Put():
                    responses.append(self._put(operation))
                case c.DeleteRange():
                    responses.append(self._delete_range(operation))
                case c.Range():
                    responses.append(self._range(operation))
                case c.Txn():
                    responses.append(self._run(operation, chosen))
        return ("txn", self.revision, succeeded, tuple(responses))

    def _holds(self, compare: c.Compare) -> bool:
        found = self.in_range(compare.key, compare.end)
        if not found:
            return compare.target != "value" and _compared(0, compare)
        fields = {"version": "version", "create": "create_revision", "mod": "revision", "lease": "lease"}
        return all(_compared(getattr(one, fields.get(compare.target, "value")), compare) for one in found)

    # Leases, time, history

    def _grant(self, command: c.LeaseGrant) -> Value:
        if command.id in self.leases:
            raise RefusedError("LeaseExistsError")
        self.leases[command.id] = (command.ttl, self.time + command.ttl * SECOND)
        return ("lease", self.revision, command.id, command.ttl)

    def _keep_alive(self, lease: int) -> Value:
        if lease not in self.leases:
            raise RefusedError("LeaseNotFoundError")
        ttl = self.leases[lease][0]
        self.leases[lease] = (ttl, self.time + ttl * SECOND)
        return ("lease", self.revision, lease, ttl)

    def _revoke(self, lease: int, action: str) -> Value:
        if lease not in self.leases:
            raise RefusedError("LeaseNotFoundError")
        del self.leases[lease]
        for key in sorted(self.files):
            if self.files[key].lease == lease:
                self._take(self.files[key], action)
        return ("lease", self.revision, lease, 0)

    def schedule(self) -> list[tuple[int, bytes, bytes]]:
        """(deadline in ns, kind, name) of all that ends with time, earliest first."""
        found = [(lease[1], b"l", name.to_bytes(8, "big")) for name, lease in self.leases.items()]
        for kind, shown in ((b"k", self.files), (b"d", self.directories)):
            found += [(one.deadline, kind, key) for key, one in shown.items() if one.deadline]
        return sorted(found)

    def _expire(self, limit: int) -> Value:
        """At most `limit` of what is due; what ends with something before it takes its place in the limit."""
        count = 0
        for due in [one for one in self.schedule() if one[0] <= self.time][:limit]:
            if due not in self.schedule():
                continue
            count += 1
            kept = (dict(self.files), dict(self.directories), self.leases, self.revision)
            self.files, self.directories = dict(self.files), dict(self.directories)
            self._fresh = []
            _, kind, name = due
            if kind == b"l":
                self._revoke(int.from_bytes(name, "big"), "expire")
            else:
                self._take((self.directories if kind == b"d" else self.files)[name], "expire")
            self._settle(*kept)
        return ("expired", count)

    def _compact(self, revision: int) -> Value:
        if revision <= self.floor:
            raise RefusedError("CompactedError", self.floor)
        if revision > self.revision:
            raise RefusedError("FutureRevisionError")
        self.floor = revision
        return ("compacted", self.revision, revision)


def _ended(found: Version, index: int, action: str) -> Version:
    return Version(found.key, found.directory, index, True, action, b"", index, index, found.created, 0, 0)


def _ways(command: c.Txn) -> list[list[c.Operation]]:
    """Every list of plain operations that a transaction may come to."""
    ways: list[list[c.Operation]] = []
    for branch in (command.success, command.failure):
        so_far: list[list[c.Operation]] = [[]]
        for operation in branch:
            more: list[list[c.Operation]] = _ways(operation) if isinstance(operation, c.Txn) else [[operation]]
            so_far = [way + one for way in so_far for one in more]
        ways += so_far
    return ways


def _compared(found: int | bytes, compare: c.Compare) -> bool:
    operand = compare.operand
    if isinstance(found, bytes) != isinstance(operand, bytes):
        return False
    order = (found > operand) - (found < operand)  # type: ignore[operator]
    return {"=": order == 0, "!=": order != 0, "<": order < 0, ">": order > 0}[compare.relation]
