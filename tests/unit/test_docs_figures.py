"""Figures in the pages are those of the code: each phrase is made from the constant and must stand on its page."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from responder.clients import alertmanager, programs
from responder.domain import observed
from responder.engine import feed, measurements, old_news, orders, outbox, plan_run, restraint, second_look
from responder.engine.conditions import streak
from responder.notifiers import pagerduty
from responder.stores import ledger
from responder.targets import polling
from responder.web import admission, slack, slack_signature, webhooks
from responder.wiring import upkeep

DOCS = Path(__file__).parents[2] / "docs"
_WORDS = {1: "one", 2: "two", 3: "three", 5: "five", 10: "ten", 24: "24", 100: "A hundred"}


def words(number: float) -> str:
    return _WORDS[int(number)]


def seconds(length: timedelta | float) -> str:
    return f"{length.total_seconds() if isinstance(length, timedelta) else length:g}"


def minutes(length: timedelta) -> str:
    return f"{length / timedelta(minutes=1):g}"


def hours(length: timedelta) -> str:
    return f"{length / timedelta(hours=1):g}"


FIGURES: list[tuple[str, str]] = [
    ("senders.md", f"answers within {webhooks.SENTRY_WITHIN / timedelta(milliseconds=1):g} ms whatever its disk does"),
    ("senders.md", f"none answers within {words(alertmanager.ANSWERS_WITHIN.total_seconds())} seconds"),
    ("senders.md", f"the webhook is believed for {words(second_look.BELIEVED_FOR / timedelta(minutes=1))} minutes"),
    ("senders.md", f"more than {words(admission.TIMESTAMP_WITHIN / timedelta(minutes=1))} minutes old are refused"),
    ("slack.md", f"at most {minutes(slack_signature.WITHIN)} minutes away from ours"),
    ("slack.md", f"longer than {seconds(slack.ANSWER_WITHIN)} seconds"),
    ("slack.md", f"for up to {hours(outbox.GIVE_UP_AFTER)} hours"),
    ("notifications.md", f"for up to {hours(outbox.GIVE_UP_AFTER)} hours"),
    ("notifications.md", f"tried again after {seconds(pagerduty.SHORTEST_PAUSE)} seconds"),
    ("notifications.md", f"up to {minutes(pagerduty.LONGEST_PAUSE)} minutes"),
    ("operators.md", f"{minutes(restraint.WARN_BEFORE)} minutes before its end"),
    ("operators.md", f"{words(feed.MOST_LISTENERS)} may listen at a time"),
    (
        "operations.md",
        f"a snapshot every {'hour' if timedelta(hours=1) == upkeep._MAINTENANCE_EVERY else upkeep._MAINTENANCE_EVERY}",
    ),
    ("operations.md", f"the latest {ledger.ENTRIES_PER_TARGET} of each"),
    ("rulebook.md", f"then every {seconds(measurements.ROUND)} seconds"),
    ("rulebook.md", f"until it is {seconds(measurements.LASTS)} seconds old"),
    ("rulebook.md", f"The first answer may take {seconds(measurements.PATIENCE)} seconds"),
    ("rulebook.md", f"forgotten after {'a day' if timedelta(days=1) == streak.FORGOTTEN_AFTER else streak.FORGOTTEN_AFTER}"),
    ("rulebook.md", f"is cut off after {seconds(plan_run.LEASH)} s"),
    ("operators.md", f"{words(observed.ASSUMED / timedelta(minutes=1))} minutes when nobody had any"),
    ("commands.md", f"{'half a mebibyte' if programs.KEPT_OUTPUT == 2**20 else programs.KEPT_OUTPUT} of each"),
    ("commands.md", f"TERM, and KILL after {seconds(programs.GRACE)} s"),
    ("guards.md", f"After {words(orders.STARTS_WITHIN.total_seconds())} seconds, or a restart"),
    ("targets-hosts.md", f"read every {seconds(polling.POLL_EVERY)} s and glanced at every {seconds(polling.GLANCE_EVERY)} s"),
    (
        "decisions/003-level-triggered-recovery.md",
        f"nothing heard for {words(old_news.LONG_SILENCE / timedelta(minutes=1))} minutes",
    ),
]


@pytest.mark.parametrize(("page", "phrase"), FIGURES, ids=[f"{page}: {phrase}" for page, phrase in FIGURES])
def test_the_figure_is_the_codes(page: str, phrase: str) -> None:
    assert phrase in " ".join((DOCS / page).read_text(encoding="utf-8").split())
