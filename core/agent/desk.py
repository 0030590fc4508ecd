"""What the agent knows of each unit: what is wanted, what there is, what went wrong. State only; it does nothing."""

import msgspec

from core.agent.backoff import Backoff
from core.agent.executor import Actual
from core.agent.journal import Mark
from core.agent.texts import NO_CARE, Care
from core.sched.records import Health, Placement, UnitState

REVIVAL_FIRST_SECONDS = 10.0
REVIVAL_LONGEST_SECONDS = 300.0


class Case(msgspec.Struct):
    """One unit on this host."""

    order: Placement | None = None
    actual: Actual | None = None
    before: Actual | None = None
    """How it was when it was started last, until it is seen otherwise: that it lies still says nothing till then."""
    busy: bool = False
    """Something is being done about it just now."""
    failure: str = ""
    """Why it could not be loaded, started, stopped, …; empty if it could."""
    attempts: Backoff = msgspec.field(default_factory=Backoff)
    """For what the executor refused."""
    care: Care = NO_CARE
    care_for: str = ""
    """The text `care` was read from."""
    health: Health = ""
    sick: str = ""
    """What its health check says, while it fails."""
    ill: bool = False
    """It is to be restarted because its checks failed."""
    revivals: Backoff = msgspec.field(default_factory=lambda: Backoff(REVIVAL_FIRST_SECONDS, REVIVAL_LONGEST_SECONDS))
    """For units that end as failed, or fail their checks, again and again."""
    revived: int = 0
    """How often the agent started it again."""

    def ordered(self, order: Placement | None) -> None:
        """Another order is another chance."""
        old, self.order = self.order, order
        if (
            old is None
            or order is None
            or (old.text, old.desired, old.restart)
            != (
                order.text,
                order.desired,
                order.restart,
            )
        ):
            self.failure = ""
            self.attempts = Backoff()
            self.revivals = Backoff(REVIVAL_FIRST_SECONDS, REVIVAL_LONGEST_SECONDS)
            self.revived = 0
            self.ill = False

    def wants_revival(self, mark: Mark | None) -> bool:
        """Whether it was started as asked, and has failed since in a way its executor does not mend."""
        order, actual = self.order, self.actual
        if order is None or actual is None or order.desired != "launched" or mark != Mark(order.text, order.restart):
            return False
        return self.ill or (self.care.revive and actual.active == "failed")

    def state(self, mark: Mark | None) -> UnitState | None:
        """What others are to know of it; None if it is neither here nor meant to be. A unit that still runs by the
        text it was started with is told with that one, whatever text is loaded for its next start."""
        actual = self.actual
        if actual is None:
            if self.order is None:
                return None
            return UnitState(
                self.order.text, "error" if self.failure else "", "inactive", "dead", why=self.failure or self._awaited
            )
        return UnitState(
            text=mark.text if mark and actual.up else actual.text,
            load=actual.load,
            active=actual.active,
            sub=actual.sub,
            since=actual.since,
            health=self.health if actual.up else "",
            why=self.failure or self.sick or actual.result or ("" if actual.up else self._awaited),
            restarts=actual.restarts + self.revived,
            pid=actual.pid,
            ended=self._has_ended(actual, mark),
        )

    def _has_ended(self, actual: Actual, mark: Mark | None) -> bool:
        order = self.order
        if order is None or order.desired != "launched" or actual.active != "inactive":
            return False
        if actual == self.before or not actual.since:  # nothing has come of its start yet
            return False
        return mark == Mark(order.text, order.restart)

    @property
    def _awaited(self) -> str:
        """Who has to stop it first, in words; empty if nobody has."""
        if self.order is None or not self.order.after or self.order.desired != "launched":
            return ""
        return f"it starts here when {' and '.join(each[:8] for each in self.order.after)} has stopped it"
