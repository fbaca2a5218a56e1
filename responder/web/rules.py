"""The live state of the rules as the JSON documents of `GET /v1/rules`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from responder.domain.decision import Decision
from responder.domain.escalation import levels_of
from responder.domain.quantity import format_duration
from responder.domain.rule_state import GroupState, GroupView
from responder.domain.rulebook import Rule, Rulebook
from responder.engine.decision_log import PER_GROUP, DecisionLog
from responder.engine.reload import Reloader
from responder.web.documents import Document, time_text

MEMBERS_SHOWN = 20
"""Of a bigger group the earliest alerts and their numbers are shown."""


def rule_rows(rulebook: Rulebook, views: Iterable[GroupView], log: DecisionLog) -> list[Document]:
    """One row per group, and one for each rule that has none now; in the order of the rulebook."""
    groups: dict[str, list[GroupView]] = defaultdict(list)
    for view in views:
        groups[view.rule].append(view)
    decisions = log.by_rule()
    rows: list[Document] = []
    for rule in rulebook.rules:
        known = decisions.get(rule.name, {})
        for view in groups.get(rule.name, ()):
            rows.append(_row(rule, view, known.get(view.group, ())) | _called(rule, view.target, rulebook))
        if rule.name not in groups:
            latest = sorted((one for kept in known.values() for one in kept), key=lambda one: one.at, reverse=True)
            rows.append(_inactive(rule, latest[:PER_GROUP]) | _called(rule, rule.target or "", rulebook))
    return rows


async def reload_document(reloader: Reloader) -> Document:
    """Reload, and what is in force then. Raises RulebookError or JournalUnavailableError."""
    reloaded = await reloader.reload()
    rulebook = reloaded.rulebook
    return {
        "changed": reloaded.changed,
        "digest": rulebook.digest,
        "rules": len(rulebook.rules),
        "targets": len(rulebook.targets),
        "plans": len(rulebook.plans),
    }


def _row(rule: Rule, view: GroupView, decisions: Sequence[Decision]) -> Document:
    return {
        "rule": view.rule,
        "group": view.group,
        "target": view.target or None,
        "state": view.state.value,
        "since": time_text(view.since),
        "due_at": time_text(view.due_at),
        "alerts": len(view.members),
        "members": list(view.members[:MEMBERS_SHOWN]),
        "values": list(view.values[:MEMBERS_SHOWN]),
        "inconclusive": view.inconclusive,
        "reason": view.reason,
        "waits_for": _awaited(rule, view),
        **_declared(rule),
        "decisions": [_decision(one) for one in decisions],
    }


def _inactive(rule: Rule, decisions: Sequence[Decision]) -> Document:
    return {
        "rule": rule.name,
        "group": "",
        "target": rule.target,
        "state": GroupState.INACTIVE.value,
        "since": None,
        "due_at": None,
        "alerts": 0,
        "members": [],
        "values": [],
        "inconclusive": False,
        "reason": "nothing that matches is going on" if decisions else "it has seen nothing yet",
        "waits_for": "something that matches " + " and ".join(map(str, rule.matchers)),
        **_declared(rule),
        "decisions": [_decision(one) for one in decisions],
    }


def _declared(rule: Rule) -> Document:
    return {
        "for": format_duration(rule.hold),
        "severity": rule.severity.value,
        "respond": rule.response.value,
        "plan": rule.plan,
        "match": [str(matcher) for matcher in rule.matchers],
        "location": rule.location,
    }


def _called(rule: Rule, target: str, rulebook: Rulebook) -> Document:
    levels = levels_of(target, rule.severity, rulebook.escalation)
    told = [{"after": format_duration(one.after), "tell": list(one.tell), "contacts": list(one.contacts)} for one in levels]
    return {"escalation": told}


def _awaited(rule: Rule, view: GroupView) -> str:
    if view.state is GroupState.PENDING:
        anew = f", and then for {format_duration(rule.hold)} anew" if rule.hold else ""
        until = f"{_clock(view.due_at)} UTC" if view.due_at else f"what holds it back to be over{anew}"
        what = "it asks if there is no readable number by then" if view.inconclusive else "it responds if nothing clears before"
        return f"{until}: {what}"
    if view.state is GroupState.FIRING:
        return "a readable number, or the alert to clear" if view.inconclusive else "the alert to clear; it has responded"
    if view.state is GroupState.SETTLING:
        return "the alert to clear; its target was rolled back"
    return "the alert to come again, or the time to run out"


def _decision(decision: Decision) -> Document:
    return {
        "at": time_text(decision.at),
        "kind": decision.kind.value,
        "response": decision.response.value,
        "group": decision.group,
        "reason": decision.reason,
    }


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"
