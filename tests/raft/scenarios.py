"""Scenario files: a cluster is told what to do, line by line, and the file says what comes of it.

A line at the margin is a command, or a remark behind `#`; the lines set in below it are what happens. A pattern chooses
among the messages that travel: `1>2`, `*>2`, `1>*`, with the name of a message behind it if only that is meant.

    settings NAME NUMBER ...   before the members; see `core.raft.machine.Settings`
    members 1 2 3              found a cluster            join 4             start a member with an empty log
    tick 1 10                  so many ticks; `tick all`  campaign 1         stand for election now
    forget                     no follower expects its leader any more
    elect 1                    forget, campaign, settle; only the outcome is told
    propose 1 x                                           change 1 4 voter   none, learner, voter; a context may follow
    transfer 1 2               hand the lead over         resign 1           lead no longer
    read 1 77                  ask to read                show 1 2           tell what members are and have
    deliver                    all messages, and what they cause, until nothing travels
    deliver PATTERN            only these, which travel now
    settle                     like deliver, without telling each message
    drop, duplicate, reverse, keep PATTERN                lose, double, reorder or delay messages that travel
    release                    let those that were kept travel on, before all others
    travelling                 tell which messages travel
    cut 1 2                    lose all from 1 to 2       isolate 3          lose all from and to 3
    heal                       lose nothing any more
    slow 1 / save 1 / fast 1   a disk saves only when told, everything that waits; `save 1 2`: the oldest two
    crash 2                    and lose what is not saved start 2            from what the disk has
    wipe 2                     crash, and lose the disk   withdraw 1         the newest save does not happen
    compact 1 5                forget entries up to 5
    forge 2 1 NAME VALUES      a message that nobody sent

`python -m tests.raft.scenarios` rewrites what the files expect; read the difference before you keep it.
"""

import re
from collections.abc import Callable
from pathlib import Path

from core.raft import messages
from core.raft.election import hears_leader
from core.raft.machine import ChangeRefusedError, NotLeaderError, Role, Settings
from core.raft.members import Members, Standing
from core.raft.messages import Entry, Message, Snapshot
from tests.raft import words
from tests.raft.memory import MemoryLog
from tests.raft.stage import Actor, Stage

FILES = Path(__file__).parent / "scenarios"
Travelling = tuple[int, int, Message]


class Interpreter:
    """Carries out the commands of one file."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.stage = Stage(self._lines.append)

    def carry_out(self, command: str) -> list[str]:
        """What happens, line by line. What raft raises is told as well."""
        verb, *words_ = command.split()
        try:
            getattr(self, f"_do_{verb}")(*words_)
        except (NotLeaderError, ChangeRefusedError, ValueError, LookupError) as error:
            self._lines.append(f"{type(error).__name__}: {error}".removesuffix(": "))
        told = self._lines[:]
        self._lines.clear()
        return told

    # Members

    def _do_settings(self, *pairs: str) -> None:
        values = dict(zip(pairs[::2], map(int, pairs[1::2]), strict=True))
        self.stage.settings = Settings(**values)

    def _do_members(self, *members: str) -> None:
        self.stage.found([int(member) for member in members])
        self._lines.clear()

    def _do_join(self, member: str) -> None:
        self.stage.join(int(member))

    def _do_show(self, *members: str) -> None:
        for member in map(int, members or map(str, self.stage.actors)):
            raft = self.stage.actors[member].raft
            self._lines += words.state(raft) if raft is not None else [f"{member} is down"]

    # What people and clocks do

    def _do_tick(self, member: str, count: str = "1") -> None:
        members = [actor.member for actor in self.stage.actors.values() if actor.raft is not None]
        for _ in range(int(count)):
            for each in members if member == "all" else [int(member)]:
                self.stage.raft(each).tick()
                self.stage.turn(each)

    def _do_campaign(self, member: str) -> None:
        self.stage.raft(int(member)).campaign()
        self.stage.turn(int(member))

    def _do_forget(self) -> None:
        for actor in self.stage.actors.values():
            raft = actor.raft
            while raft is not None and raft.role is Role.FOLLOWER and hears_leader(raft):
                raft.tick()

    def _do_elect(self, member: str) -> None:
        self._do_forget()
        self._do_campaign(member)
        self._do_settle()
        self._lines[:] = [words.summary(self.stage.raft(int(member)))]

    def _do_propose(self, member: str, *data: str) -> None:
        raft = self.stage.raft(int(member))
        for each in data:
            size = re.fullmatch(r"(\d+)bytes", each)
            raft.propose(b"x" * int(size[1]) if size else each.encode())
        self.stage.turn(int(member))

    def _do_change(self, member: str, whom: str, standing: str, *context: str) -> None:
        raft = self.stage.raft(int(member))
        raft.change(int(whom), Standing[standing.upper()], " ".join(context).encode())
        self.stage.turn(int(member))

    def _do_miss(self, member: str, whom: str) -> None:
        self.stage.raft(int(member)).miss(int(whom))
        self.stage.turn(int(member))

    def _do_transfer(self, member: str, whom: str) -> None:
        self.stage.raft(int(member)).transfer(int(whom))
        self.stage.turn(int(member))

    def _do_resign(self, member: str) -> None:
        self.stage.raft(int(member)).resign()
        self.stage.turn(int(member))

    def _do_read(self, member: str, token: str) -> None:
        self.stage.raft(int(member)).read(int(token))
        self.stage.turn(int(member))

    # Disks

    def _do_slow(self, member: str) -> None:
        self.stage.actors[int(member)].slow = True

    def _do_save(self, member: str, count: str = "") -> None:
        actor = self.stage.actors[int(member)]
        for _ in range(int(count) if count else len(actor.waiting)):
            self.stage.save(actor.member)

    def _do_fast(self, member: str) -> None:
        self.stage.actors[int(member)].slow = False
        self._do_save(member)

    def _do_withdraw(self, member: str) -> None:
        actor = self.stage.actors[int(member)]
        self.stage.raft(actor.member).withdraw(actor.waiting.pop())
        self.stage.turn(actor.member)

    def _do_crash(self, member: str) -> None:
        self.stage.crash(int(member))

    def _do_wipe(self, member: str) -> None:
        self.stage.crash(int(member))
        self.stage.actors[int(member)] = Actor(int(member), MemoryLog())

    def _do_start(self, member: str) -> None:
        self.stage.start(int(member))

    def _do_compact(self, member: str, index: str) -> None:
        self.stage.compact(int(member), int(index))

    # The network

    def _chosen(self, pattern: str, name: str = "") -> Callable[[Travelling], bool]:
        sender, receiver = pattern.split(">")

        def fits(travelling: Travelling) -> bool:
            kind = type(travelling[2]).__name__
            return sender in ("*", str(travelling[0])) and receiver in ("*", str(travelling[1])) and name in ("", kind)

        return fits

    def _take(self, *pattern: str) -> list[Travelling]:
        fits = self._chosen(*pattern)
        taken = [each for each in self.stage.network if fits(each)]
        self.stage.network = [each for each in self.stage.network if not fits(each)]
        return taken

    def _do_deliver(self, *pattern: str) -> None:
        if not pattern:
            self.stage.deliver_all()
            return
        for each in self._take(*pattern):
            self.stage.deliver(*each)

    def _do_settle(self) -> None:
        self.stage.deliver_all(quietly=True)

    def _do_drop(self, *pattern: str) -> None:
        for sender, receiver, message in self._take(*pattern):
            self._lines.append(words.letter(sender, receiver, message) + "  lost")
            if isinstance(message, messages.InstallSnapshot):
                self.stage.snapshot_done(sender, receiver, arrived=False)

    def _do_duplicate(self, *pattern: str) -> None:
        fits = self._chosen(*pattern)
        self.stage.network += [each for each in self.stage.network if fits(each)]

    def _do_reverse(self, *pattern: str) -> None:
        self.stage.network += reversed(self._take(*pattern))

    def _do_keep(self, *pattern: str) -> None:
        self.stage.kept += self._take(*pattern)

    def _do_release(self) -> None:
        self.stage.network = self.stage.kept + self.stage.network
        self.stage.kept = []

    def _do_travelling(self) -> None:
        self._lines += [words.letter(*each) for each in self.stage.network]

    def _do_cut(self, sender: str, receiver: str) -> None:
        self.stage.cut.add((int(sender), int(receiver)))

    def _do_isolate(self, member: str) -> None:
        for other in self.stage.actors:
            self.stage.cut |= {(int(member), other), (other, int(member))}

    def _do_heal(self) -> None:
        self.stage.cut.clear()

    def _do_forge(self, sender: str, receiver: str, name: str, *values: str) -> None:
        """Values are Python's, without spaces; `Entry(...)`, `Snapshot(...)`, `Members(...)` are known."""
        known = {"Entry": Entry, "Snapshot": Snapshot, "Members": Members}
        arguments = eval(f"({', '.join(values)},)", known)
        self.stage.deliver(int(sender), int(receiver), getattr(messages, name)(*arguments))


def play(text: str) -> str:
    """A scenario's text with what really happens in it."""
    interpreter = Interpreter()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("    "):
            continue
        lines.append(line)
        command = line.partition("#")[0].strip()
        if command:
            lines += [f"    {told}" for told in interpreter.carry_out(command)]
    return "\n".join(lines) + "\n"


def rewrite() -> None:
    """Make every file expect what happens."""
    for file in sorted(FILES.glob("*.txt")):
        file.write_text(play(file.read_text()))


if __name__ == "__main__":
    rewrite()
