"""A cluster on paper: a view, a planner, and an engine that carries out every task at once."""

from core.sched import keys, records, unit_text
from core.sched.planner import Planner
from core.sched.records import Desired, Drain, HostRecord, Machine, Placement, Record, Rollout, UnitRecord, UnitState
from core.sched.tasks import Step, Task, outcome
from core.sched.view import View

SERVICE = "[Service]\nExecStart=/bin/sleep 9\n"


def machine_id(number: int) -> str:
    return f"{number:08x}" + "0" * 24


class World:
    """What a store would hold, and what the planner made of it."""

    def __init__(self, machines: int = 0) -> None:
        self.store: dict[bytes, bytes] = {}
        self.revision = 0
        self.view = View()
        self.view.advance(1_000_000)
        self.planner = Planner(self.view)
        self.done: list[Task] = []
        """Every task carried out so far."""
        for number in range(1, machines + 1):
            self.machine(number)

    # what operators and agents do

    def write(self, key: bytes, record: Record | bytes | None) -> None:
        self.revision += 1
        data = record if record is None or isinstance(record, bytes) else records.encode(record)
        if data is None:
            self.store.pop(key, None)
        else:
            self.store[key] = data
        self.view.apply(key, data, self.revision)

    def machine(self, number: int, cpus: float = 0, memory: int = 0, **metadata: str) -> str:
        record = Machine(machine_id(number), f"m{number}", metadata=metadata, cpus=cpus, memory=memory)
        self.write(keys.machine(record.id), record)
        return record.id

    def kill(self, number: int) -> None:
        self.write(keys.machine(machine_id(number)), None)

    def host(self, number: int, record: HostRecord | None) -> None:
        self.write(keys.host(machine_id(number)), record)

    def drain(self, number: int, at_once: int = 1, deadline: int = 0) -> None:
        self.host(number, HostRecord(drain=Drain(deadline, at_once)))

    def submit(
        self,
        name: str,
        fleet: str = "",
        desired: Desired = "launched",
        *,
        replicas: int | None = None,
        service: str = SERVICE,
        restarted: int = 0,
    ) -> str:
        """Store a unit with some lines of [X-Fleet]; its text's hash."""
        data = f"{service}[X-Fleet]\n{fleet}\n".encode()
        digest = unit_text.digest(data)
        self.write(keys.text(digest), data)
        self.write(keys.unit(name), UnitRecord(digest, desired, replicas, restarted))
        return digest

    def destroy(self, name: str) -> None:
        self.write(keys.unit(name), None)

    def rollout(self, name: str, record: Rollout | None) -> None:
        self.write(keys.rollout(name), record)

    def state(self, number: int, name: str, state: UnitState | None) -> None:
        self.write(keys.state(machine_id(number), name), state)

    def run_all(self) -> None:
        """Every agent reports that what is placed with it runs."""
        for name, places in sorted(self.placements.items()):
            for machine, placement in places.items():
                if machine in self.view.machines:
                    state = UnitState(placement.text, "loaded", "active", "running", self.view.now)
                    self.write(keys.state(machine, name), state)

    # what the engine does

    def execute(self, task: Task) -> None:
        """The transaction, its confirmation, and the watch event behind it."""
        self.done.append(task)
        self.revision += 1
        for machine, placement in outcome(task).items():
            key = keys.placement(machine, task.unit)
            if placement is None:
                self.store.pop(key)
            else:
                self.store[key] = records.encode(placement)
        self.view.confirm(task, self.revision)
        for machine in outcome(task):
            key = keys.placement(machine, task.unit)
            self.view.apply(key, self.store.get(key), self.revision)

    def plan(self) -> list[Task]:
        """Plan and carry out until there is nothing to do; the tasks of it."""
        tasks: list[Task] = []
        for _ in range(50):
            round_of: list[Step] = list(self.planner.plan())
            if not any(step.tasks for step in round_of):
                return tasks
            for step in round_of:
                for task in step.tasks:
                    self.execute(task)
                    tasks.append(task)
        raise AssertionError(f"plans go on and on: {tasks[-5:]}")

    def at(self, seconds: int) -> None:
        """So many seconds later."""
        self.view.advance(self.view.now + seconds)

    # what came of it

    @property
    def placements(self) -> dict[str, dict[str, Placement]]:
        """By unit: what the store says, by machine."""
        found: dict[str, dict[str, Placement]] = {}
        for key, data in self.store.items():
            place = keys.parse(key)
            if place is not None and place.kind is keys.Kind.PLACEMENT:
                found.setdefault(place.name, {})[place.machine] = records.decode(Placement, data)
        return found

    def on(self, name: str) -> list[int]:
        """The numbers of the machines a unit stands on."""
        return sorted(int(machine[:8], 16) for machine in self.placements.get(name, {}))

    def standing(self, number: int) -> list[str]:
        """The units on a machine."""
        return sorted(name for name, places in self.placements.items() if machine_id(number) in places)
