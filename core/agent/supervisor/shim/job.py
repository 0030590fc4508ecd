"""What a unit wants, as the daemon wrote it down: the words of the file `job`.

Each record is a key and its values. Times are seconds as decimal numbers, or `infinity`; signals are numbers; yes is
`1`. Keys that may occur several times are marked with a star.

    name NAME · type simple|exec|oneshot|forking|notify · remain 1 · pid-file PATH · guess-main 1
    exec* STAGE FLAGS PROGRAM ARGV...    STAGE is condition, pre, start, post, reload, stop or stop-post. FLAGS: `-`
                                 failure is ignored, `:` no variables, `+` with full privileges
    env* NAME VALUE · env-file* 0|1 PATH (1: may be missing) · unset* NAME
    user NAME · group NAME · groups NAME... · directory 0|1 PATH (1: may be missing; ~ is the user's home)
    umask OCTAL · limit* NAME SOFT HARD · nice N · oom N · no-new-privileges 1 · keep-sigpipe 1
    stdout KIND [PATH] · stderr KIND [PATH]    KIND is log, null, inherit, file, append or truncate
    made* KIND MODE PATH...      KIND is runtime, state, cache, logs or configuration · keep-runtime no|restart|yes
    cgroup* DIRECTORY · cgroup-value* FILE VALUE     the first cgroup is the one whose members are the unit's
    oom-count FILE               where the kernel counts its kills for lack of memory
    start-timeout · stop-timeout · abort-timeout · runtime-limit · watchdog · restart-pause   seconds
    kill-mode control-group|mixed|process|none · kill-signal N · final-signal N · watchdog-signal N
    send-kill 1 · send-hangup 1 · notify none|main|exec|all
    restart POLICY · start-limit SECONDS COUNT
    success WORD... · restart-prevent WORD... · restart-force WORD...    exit codes, or signals as `SIGTERM`
    check-timeout    seconds: of a health check, with a command of the stage `check`, which has most of these words
    log BYTES COUNT · warning* SENTENCE    what the unit asks for and does not get; it goes into its log
"""

from core.agent.supervisor.shim.fields import unpack

Command = tuple[str, list[str]]
"""Flags, then the program with its arguments from argv[0] on."""


class Job:
    """The words of one job, by key."""

    def __init__(self, data: bytes) -> None:
        self._rows: dict[str, list[list[str]]] = {}
        for key, *values in unpack(data):
            self._rows.setdefault(key, []).append(values)

    def all(self, key: str) -> list[list[str]]:
        return self._rows.get(key, [])

    def row(self, key: str) -> list[str]:
        rows = self._rows.get(key)
        return rows[-1] if rows else []

    def text(self, key: str, default: str = "") -> str:
        row = self.row(key)
        return row[0] if row else default

    def suppose(self, key: str, value: str) -> None:
        """What holds if the unit does not say."""
        self._rows.setdefault(key, [[value]])

    def number(self, key: str, default: int = 0) -> int:
        return int(self.text(key) or default)

    def seconds(self, key: str) -> float:
        """Infinity if there is no limit, or none was given."""
        return float(self.text(key) or "inf")

    def commands(self, stage: str) -> list[Command]:
        return [(row[1], row[2:]) for row in self.all("exec") if row[0] == stage]


def load(path: str) -> Job:
    """The job in this file. OSError if it cannot be read."""
    with open(path, "rb") as file:
        return Job(file.read())
