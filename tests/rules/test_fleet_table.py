"""The table of fleet's functional tests names all of them, and tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS / "hosts" / "README.md"
NAMES = """
KnownHostsVerification FleetctlWithEnv DynamicClusterNewMemberUnitMigration DynamicClusterMemberReboot
SingleNodeConnectivityLoss ClientVersionFlag ClientVersionHelpOutput ClientHelpFlag InstallUnit MachinesList
MachinesListBadNextPageToken MachinesPatchAddModify MachinesPatchDelete MachinesPatchBad
TemplatesWithSpecifiersInMetadata NodeShutdown DetectMachineId ScheduleMachineOf ScheduleConflicts
ScheduleOneWayConflict ScheduleMultipleConflicts ScheduleReplace ScheduleCircularReplace ScheduleConditionMachineID
ScheduleGlobalUnits ScheduleGlobalConflicts ReconfigureServer Shutdown ShutdownVsMonitor SystemdUnitFlow
TunnelScheduleBatchUnits UnitRunnable UnitSubmit UnitLoad UnitStart UnitSubmitReplace UnitLoadReplace UnitStartReplace
UnitRestart UnitSSHActions UnitCat UnitStatus ListUnitFilesOrder
"""


def rows() -> list[tuple[str, str]]:
    lines = [line.strip("| ").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    return [(fleets, ours) for fleets, ours in lines if "---" not in fleets and fleets != "fleet's"]


def test_every_test_of_fleet_is_there_once() -> None:
    named = [word for fleets, _ in rows() for word in re.findall(r"[A-Za-z]+", re.sub(r"\(.*?\)", "", fleets))]
    assert sorted(named) == sorted(NAMES.split())


def test_what_the_table_names_is_there() -> None:
    for fleets, ours in rows():
        files = re.findall(r"`([\w/]+)`", ours)
        assert files, f"{fleets} has no equal"
        assert [file for file in files if not (TESTS / f"{file}.py").is_file()] == []
