"""Units of a cluster of hosts: asked for over fleet's interface, looked for in each host's own systemd."""

from collections.abc import Sequence
from typing import Any

from tests.hosts.cluster import Cluster, ask
from tests.hosts.host import Host

SLEEPS = "[Unit]\nDescription=Sleeps\n[Service]\nType=exec\nExecStart=/bin/sleep 100000\n"


def fleet(*options: str) -> str:
    """A section for the cluster, to be put behind a unit's text."""
    return "[X-Fleet]\n" + "".join(f"{option}\n" for option in options)


class Units:
    """Of one cluster. Whoever is asked must be on and in touch with the others."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def any_host(self) -> Host:
        return self.cluster.up()[0]

    def want(self, name: str, text: str, state: str = "launched", by: Host | None = None) -> None:
        """Have a unit with this text in this state."""
        body = {"name": name, "desiredState": state, "options": options(text)}
        answer = ask(by or self.any_host(), f"/fleet/v1/units/{name}", "PUT", body)
        assert answer is not None, f"{name} was not accepted"

    def set(self, name: str, state: str, by: Host | None = None) -> None:
        answer = ask(by or self.any_host(), f"/fleet/v1/units/{name}", "PUT", {"desiredState": state})
        assert answer is not None, f"{name} was not set {state}"

    def names(self, by: Host | None = None) -> list[str]:
        """Every unit the cluster knows."""
        answer = ask(by or self.any_host(), "/fleet/v1/units")
        return [unit["name"] for unit in (answer or {}).get("units", [])]

    def states(self, name: str, by: Host | None = None) -> dict[str, str]:
        """What the cluster says of a unit: `active/running` and the like by the id of the machine."""
        answer = ask(by or self.any_host(), f"/fleet/v1/state?unitName={name}")
        return {
            state["machineID"]: f"{state['systemdActiveState']}/{state['systemdSubState']}"
            for state in (answer or {}).get("states", [])
        }

    def machines(self, by: Host | None = None) -> dict[str, Any]:
        """The hosts that are present, by id."""
        answer = ask(by or self.any_host(), "/fleet/v1/machines")
        return {machine["id"]: machine for machine in (answer or {}).get("machines", [])}

    def on(self, name: str, among: Sequence[Host] = ()) -> list[Host]:
        """Where a unit really runs: each host's systemd is asked."""
        asked = [host for host in among or self.cluster.up() if host.leader]
        return [host for host in asked if host.run("systemctl", "is-active", name).stdout == "active\n"]

    def runs(self, name: str, among: Sequence[Host] = (), times: int = 1) -> list[Host]:
        """Wait until it runs on so many of these hosts and the cluster says the same; where."""
        found: list[Host] = []

        def so() -> bool:
            found[:] = self.on(name, among)
            said = self.states(name, by=among[0] if among else None)
            up = {machine for machine, state in said.items() if state.startswith("active/")}
            return len(found) == times and {host.machine_id for host in found} == up

        self.cluster.until(so, f"{name} runs on {times} hosts")
        return found

    def clear(self) -> None:
        """Have nothing any more, on no host."""
        for name in self.names():
            ask(self.any_host(), f"/fleet/v1/units/{name}", "DELETE")
        self.cluster.until(lambda: not any(files(host) for host in self.cluster.up()), "all units are gone")


def files(host: Host) -> list[str]:
    """The unit files that the cluster has put on a host."""
    return host.run("ls", "/run/corenode/units").stdout.split()


def pid(host: Host, name: str) -> int:
    """Of a unit's main process, in the host's own numbers."""
    return int(host.do("systemctl", "show", "--property=MainPID", "--value", name))


def options(text: str) -> list[dict[str, str]]:
    """A unit's text as fleet's interface wants it."""
    found, section = [], ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line:
            name, _, value = line.partition("=")
            found.append({"section": section, "name": name, "value": value})
    return found
