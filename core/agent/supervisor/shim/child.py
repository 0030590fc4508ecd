"""From fork to exec: what a process becomes before its own program runs, step by step, each with its exit code."""

import ctypes
import grp
import os
import pwd
import resource

from core.agent.supervisor.shim import environment, places, signals
from core.agent.supervisor.shim import results as code
from core.agent.supervisor.shim.job import Command, Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MADE_BELOW = {
    "runtime": "RUNTIME_DIRECTORY",
    "state": "STATE_DIRECTORY",
    "cache": "CACHE_DIRECTORY",
    "logs": "LOGS_DIRECTORY",
    "configuration": "CONFIGURATION_DIRECTORY",
}
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 15, 36, 38

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int | bytes) -> None:
    """The system call. OSError if the kernel refuses."""
    argument = value if isinstance(value, bytes) else ctypes.c_ulong(value)
    if _libc.prctl(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class StepError(Exception):
    """A step failed; its exit code, and why in words."""

    def __init__(self, exit_code: int, why: str) -> None:
        self.exit_code = exit_code
        super().__init__(why)


def spawn(job: Job, command: Command, variables: environment.Environment, output: int) -> tuple[int, int]:
    """Start a process; gives its pid, and a pipe that ends when its own program runs, after why not if it does not.

    `output` is where its log goes. `variables` come on top of those that files and the unit give.
    """
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    shim = os.getpid()
    signals.hold()
    pid = os.fork()
    if pid:
        signals.release()
        os.close(write)
        return pid, read
    exit_code = code.EXEC
    try:
        _become(job, command, variables, output, shim)
    except StepError as error:
        exit_code = error.exit_code
        os.write(write, str(error).encode("utf-8", "surrogateescape")[:400])
    except BaseException as error:
        os.write(write, repr(error).encode("utf-8", "surrogateescape")[:400])
    finally:
        os._exit(exit_code)


def _become(job: Job, command: Command, variables: environment.Environment, output: int, shim: int) -> None:
    flags, words = command
    signals.usual(keep_pipe=bool(job.text("keep-sigpipe")))
    _step(code.SETSID, os.setsid)
    _attach(job)
    user, group = _identity(job)
    variables = {**_of_user(user), **variables}
    owner = (-1 if user is None else user[1], -1 if group is None else group)
    for kind, mode, *paths in job.all("made"):
        _step(code.MADE[kind], _make, paths, int(mode, 8), owner)
        variables[MADE_BELOW[kind]] = ":".join(paths)
    _streams(job, output, owner)
    os.umask(int(job.text("umask", "0022"), 8))
    if "+" not in flags:
        _drop(job, user, group)
    _enter(job, user)
    if job.text("no-new-privileges"):
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if job.text("kill-mode") != "none" and job.text("send-kill", "1") == "1":
        prctl(PR_SET_PDEATHSIG, signals.KILL)
        if os.getppid() != shim:  # it was killed before the line above
            os._exit(code.EXEC)
    if ":" not in flags:
        words = [words[0], *environment.expand(words[1:], variables)]
    _execute(words[0], words[1:], variables)


def _step(exit_code: int, act: "Callable[..., object]", *arguments: object, what: str = "") -> None:
    try:
        act(*arguments)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        place = what or (error.filename if isinstance(error, OSError) and error.filename else "")
        raise StepError(exit_code, f"{place}: {why}" if place else why) from None


def _attach(job: Job) -> None:
    """Cgroups, and what only root may raise."""
    for row in job.all("cgroup"):
        _step(code.CGROUP, _write, f"{row[0]}/cgroup.procs", "0")
    if job.text("oom"):
        _step(code.OOM_ADJUST, _write, "/proc/self/oom_score_adj", job.text("oom"))
    if job.text("nice"):
        _step(code.NICE, os.setpriority, os.PRIO_PROCESS, 0, job.number("nice"))
    for name, soft, hard in job.all("limit"):
        bounds = tuple(resource.RLIM_INFINITY if one == "infinity" else int(one) for one in (soft, hard))
        _step(code.LIMITS, resource.setrlimit, getattr(resource, f"RLIMIT_{name}"), bounds, what=f"Limit{name}=")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


User = tuple[str, int, int, str, str]
"""Name, number, group's number, home, shell."""


def _identity(job: Job) -> tuple[User | None, int | None]:
    """User= and Group= as this host knows them now."""
    user: User | None = None
    name, group_name = job.text("user"), job.text("group")
    if name:
        try:
            entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
            user = (entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell)
        except KeyError:
            if not name.isdecimal():
                raise StepError(code.USER, f"there is no user {name!r} on this host") from None
            user = (name, int(name), int(name), "/", "/bin/sh")
    if not group_name:
        return user, None if user is None else user[2]
    try:
        return user, int(group_name) if group_name.isdecimal() else grp.getgrnam(group_name).gr_gid
    except KeyError:
        raise StepError(code.GROUP, f"there is no group {group_name!r} on this host") from None


def _of_user(user: User | None) -> environment.Environment:
    if user is None:
        return {}
    return {"HOME": user[3], "LOGNAME": user[0], "USER": user[0], "SHELL": user[4]}


def _make(paths: list[str], mode: int, owner: tuple[int, int]) -> None:
    before = os.umask(0o022)  # those above them are for everyone to pass
    for path in paths:
        places.give(path, mode, owner)
    os.umask(before)


def _streams(job: Job, output: int, owner: tuple[int, int]) -> None:
    """Standard input, output and error. The log's pipe belongs to the user, who may open /dev/stdout."""
    _step(code.STDIN, _open_as, 0, "/dev/null", os.O_RDONLY)
    if owner[0] > 0 and os.geteuid() == 0:
        os.fchown(output, *owner)
    for number, key, exit_code in ((1, "stdout", code.STDOUT), (2, "stderr", code.STDERR)):
        kind, *path = job.row(key) or ["inherit" if number == 2 else "log"]
        if kind == "log":
            os.dup2(output, number)
        elif kind == "inherit" and number == 2:
            os.dup2(1, 2)
        elif kind in ("null", "inherit"):
            _step(exit_code, _open_as, number, "/dev/null", os.O_WRONLY)
        else:
            how = {"file": 0, "append": os.O_APPEND, "truncate": os.O_TRUNC}[kind]
            _step(exit_code, _open_as, number, path[0], os.O_WRONLY | os.O_CREAT | how)


def _open_as(number: int, path: str, flags: int) -> None:
    file = places.open_file(path, flags, 0o666)
    os.dup2(file, number)


def _drop(job: Job, user: User | None, group: int | None) -> None:
    further = [name for row in job.all("groups") for name in row]
    try:
        numbers = [int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid for name in further]
    except KeyError as error:
        raise StepError(code.GROUP, f"SupplementaryGroups=: {error.args[0]}") from None
    if os.geteuid() == 0 and (user or group is not None or further):
        _step(code.GROUP, _groups, user, group, numbers)
    if group is not None and group != os.getegid():
        _step(code.GROUP, os.setgid, group, what="Group=")
    if user and user[1] != os.geteuid():
        _step(code.USER, os.setuid, user[1], what=f"User={user[0]}")


def _groups(user: User | None, group: int | None, further: list[int]) -> None:
    own = os.getgrouplist(user[0], user[2] if group is None else group) if user else os.getgroups()
    os.setgroups([*own, *further])


def _enter(job: Job, user: User | None) -> None:
    optional, path = job.row("directory") or ["0", "/"]
    if path == "~":
        path = user[3] if user else os.path.expanduser("~")
    try:
        _step(code.CHDIR, os.chdir, path)
    except StepError:
        if optional != "1":
            raise
        os.chdir("/")


def _execute(program: str, words: list[str], variables: environment.Environment) -> None:
    places = [program] if "/" in program else [f"{place}/{program}" for place in environment.SEARCH]
    why: OSError | None = None
    for place in places:
        try:
            os.execve(place, words, variables)  # noqa: S606 - there is to be no shell
        except FileNotFoundError as error:
            why = why or error
        except (OSError, ValueError) as error:
            raise StepError(code.EXEC, f"{place}: {getattr(error, 'strerror', None) or error}") from None
    reason = why.strerror if why else "not found"
    raise StepError(code.EXEC, f"{program}: {reason}")
