"""When a watch ends, and how."""

from __future__ import annotations

from datetime import timedelta

import pytest

from responder.domain.plan import Monitor
from responder.engine.watch import assess_watch
from tests.unit.version_values import at

MONITOR = Monitor(window=timedelta(minutes=5), settle=timedelta(minutes=10), failure_limit=2)

CASES = {
    "inside the window nothing is decided": (4, False, 0, None),
    "inside the window a firing alert is waited for": (4, True, 0, None),
    "calm at the end of the window is recovery": (5, False, 0, (False, "the alert has cleared")),
    "still firing at the end of the window gets settle time": (5, True, 0, None),
    "still firing at the end of settle time has failed": (15, True, 0, (True, "has not cleared 15m after")),
    "cleared within settle time is recovery": (12, False, 0, (False, "the alert has cleared")),
    "two failed rounds are tolerated": (1, False, 2, None),
    "a failed round at the end is not recovery yet": (6, False, 1, None),
    "a third failed round is one too many": (1, False, 3, (True, "3 rounds")),
}


@pytest.mark.parametrize(("minute", "firing", "failures", "expected"), CASES.values(), ids=CASES.keys())
def test_end_of_a_watch(minute: int, firing: bool, failures: int, expected: tuple[bool, str] | None) -> None:
    verdict = assess_watch(MONITOR, at(5), at(minute), firing=firing, failures=failures)
    if expected is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert verdict.failed is expected[0]
        assert expected[1] in verdict.reason
