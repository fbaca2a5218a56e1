"""`responder demo --once` as a stranger runs it: from the bad deploy to resolved, with nothing installed."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

IN_ORDER = (
    "rule error_rate_spike: pending",
    "opened: HighErrorRate: value 0.0731 is above 0.05",
    "none of 20 refuses",
    "from v1.4.2-bad (revision 2) to v1.4.1 (revision 1)",
    "step_succeeded: rollback",
    "step_succeeded: http.check",
    "recovered: all steps done and verified",
    "resolved: the alert has cleared",
    "Status page: Problems with checkout: resolved",
)


@pytest.mark.acceptance
async def test_the_demo_ends_with_a_resolved_incident_and_a_report() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "responder",
        "demo",
        "--once",
        "--port",
        "0",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(110):
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    position = 0
    for line in IN_ORDER:
        found = output.find(line, position)
        assert found >= 0, f"{line!r} is missing after position {position} in:\n{output}"
        position = found
    report = re.search(r"^Report +(\S+)$", output, re.MULTILINE)
    assert report is not None, output
    _assert_reports(Path(report[1]))


def _assert_reports(report: Path) -> None:
    text = report.read_text()
    assert "v1.4.1" in text
    assert "v1.4.2-bad" in text
