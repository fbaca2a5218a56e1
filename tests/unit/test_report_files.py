"""Reports as files: one for each closed incident that changed something, written once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from responder.domain.incident import IncidentStatus
from responder.stores.database import Database
from responder.stores.report_files import ReportFiles, name_of
from tests.harness.databases import at, happening, incident, sqlite_database

NAMES = {
    "the alert's environment": ({"environment": "production"}, "incident-production-20260301-120100-inc_1.md"),
    "without one the target": ({}, "incident-app-20260301-120100-inc_1.md"),
    "no path comes of what an alert says": ({"environment": "../../etc/x y"}, "incident-etc-x-y-20260301-120100-inc_1.md"),
}


@pytest.mark.parametrize(("labels", "name"), NAMES.values(), ids=NAMES.keys())
def test_names(labels: dict[str, str], name: str) -> None:
    assert name_of(incident(trigger_labels=labels)) == name


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with sqlite_database(tmp_path) as database:
        yield database


async def test_closed_incidents_that_changed_something_get_a_file_each_once(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "new"
    closed = {"closed_at": at(9), "identity": "a"}
    for number, changes in enumerate(
        [
            {"status": IncidentStatus.RESOLVED, "acted_at": at(5), **closed},
            {"status": IncidentStatus.REFUSED, **closed, "identity": "b", "target": "b"},
            {"status": IncidentStatus.RUNNING, "acted_at": at(5), "identity": "c", "target": "c"},
        ],
        start=1,
    ):
        await database.incidents.open(incident(number, **changes), [happening("opened")], [])
    files = ReportFiles(folder, database.incidents, lambda one, events: f"{one.id}: {[event.kind for event in events]}\n")
    await files.write_reports()
    [written] = folder.iterdir()
    assert written.read_text() == "inc_1: ['opened']\n"

    written.write_text("root cause: a person wrote it")
    still_open = await database.incidents.get("inc_3")
    assert still_open is not None
    ended = incident(3, target="c", identity="c", status=IncidentStatus.FAILED, acted_at=at(5), closed_at=at(10))
    await database.incidents.save(ended, [happening("failed")], [])
    await files.write_reports()
    assert written.read_text() == "root cause: a person wrote it"
    assert [path.name for path in sorted(folder.iterdir())][1:] == ["incident-c-20260301-120300-inc_3.md"]
