"""From what a visiting host says to its report. Pure."""

import msgspec

from core.api.omaha.protocol import App, Event
from core.update.records import Channel, Group, Offer, Report, Stage

_WHATS = {1: "the download", 2: "the installation", 3: "the update", 13: "the download", 14: "the download"}
"""What an event is about, by its type."""
_STAGES: dict[int, Stage] = {13: "fetching", 1: "writing", 14: "writing", 2: "waiting", 3: "waiting", 800: "waiting"}
"""How far a host is that says so with success. 800 is CoreUpdate's word for one that is to be restarted."""
_ERROR, _REBOOTED = 0, 2


def heard(before: Report | None, app: App, name: str, channel: Channel, offer: Offer | None, now: int) -> Report:
    """The report of a host after what it said; `before` is the one until now, `offer` what it was offered last."""
    report = Report(name, channel.product, app.architecture, app.version, visits=True, since=now)
    if before is not None and (before.group, before.version) == (name, app.version):
        report = before
        if before.stage == "waiting" and app.check and not any(map(_failed, app.events)):
            report = _at(report, "failed", offer, now, f"it came back with {app.version}")
        elif app.check and before.stage not in ("idle", "failed"):
            report = _at(report, "idle", offer, now)  # it begins anew, whatever it did
    for event in app.events:
        if _failed(event):
            report = _at(report, "failed", offer, now, f"{_WHATS[event.type]} failed with code {event.code}")
        elif event.result == _REBOOTED:
            if report.stage != "failed":
                report = _at(report, "idle", offer, now)
        elif event.type in _STAGES:
            report = _at(report, _STAGES[event.type], offer, now)
    return report


def may_go(report: Report, group: Group, offer: Offer | None) -> bool:
    """Whether it is worth asking the conductor: what failed stays so until the group is resumed, or wants another."""
    if group.paused or report.stage not in ("idle", "failed"):
        return False
    about = None if offer is None else (offer.version, offer.attempt)
    return report.stage == "idle" or (report.wanted, report.attempt) != about


def _failed(event: Event) -> bool:
    return event.result == _ERROR and event.type in _WHATS


def _at(report: Report, stage: Stage, offer: Offer | None, now: int, error: str = "") -> Report:
    since = report.since if report.stage == stage else now
    wanted = {} if offer is None else {"wanted": offer.version, "attempt": offer.attempt}
    return msgspec.structs.replace(report, stage=stage, error=error, since=since, **wanted)
