"""The plain words of the evaluator's decisions, with the numbers they rest on."""

from __future__ import annotations

from datetime import datetime, timedelta

from responder.domain.reading import GRAFANA_STATE, Verdict
from responder.domain.rule_state import GroupState
from responder.domain.wording import one_line, spell_duration, spell_number, spell_time
from responder.engine.alerts import Member, StandIn

_HOLDS, _INCONCLUSIVE = Verdict.HOLDS, Verdict.INCONCLUSIVE

NO_RULE = "no rule matches"
REPEAT = "repeat of an alert that fires already; nothing changed"
UPDATED = "news of an alert that fires already; no verdict changed"
OLDER = "firing of an older episode than the one that fires now"
LATE = "late firing of an episode that has ended: the slower half of a pair; nothing changed"
ENDED_BEFORE = "resolved, as known before"
ENDED_UNSEEN = "resolved before it was seen firing; remembered, so that its late firing changes nothing"
OLDER_ENDED = "resolved speaks of an older episode than the one that fires now"
NO_MEMBER = "resolved; it was in no group"
SEEN = "an observation with this id was seen before; it counts once"
PASSED = "the check passed"
EVENT_REPEAT = "point event that was seen before, or older than one that was"
EVENT_TOO_OLD = "point event of more than a day ago; it can't be told from a repeat"
EVENT_NEEDS_NO_FOR = "a point event without a verdict or a number can't last: only a rule without `for` responds to it"
EVENT_JOINS = "point event of an alert that fires already"
EVENT_OVER = "nothing newer was heard of it"
COUNTED = "counted"
COUNTED_BEFORE = "it was counted before, or does not count"
TOO_MANY = "too many groups are being counted already; this one is not watched"
NOT_YET = "what it counted from has changed"
GATE_OPENED = "what held it back is over"
AWAITED = "not asked yet"
NO_ANSWER = "Prometheus was not asked in time"
NOT_FINITE = "it is no finite number"
UNDECIDED = "Grafana could not evaluate it: it does not count"
RESOLVED = "resolved"
REPLACED = "a newer episode of it began"
UNMATCHED = "its labels changed and match no more"

SHOWN_QUERY = 200
"""Characters of a query in a reason."""


def no_target(rule: str) -> str:
    return f"rule {rule} would roll back, but no declared target matches the alert's labels"


def verdict_of(member: Member, verdict: Verdict, value: float | None) -> str:
    """`HighErrorRate: value 0.0731 is above 0.05`."""
    watch = member.watch
    if isinstance(member, StandIn):
        return member.words
    name = member.alert.name
    if verdict is _INCONCLUSIVE and watch.is_undecided(member.alert.reading):
        state = one_line(member.alert.reading.label(GRAFANA_STATE))
        return f"{name}: Grafana could not evaluate it ({state}), so nobody knows whether it should fire"
    if member.wants and (missing := _missing(member, verdict)):
        number = "it" if watch.number_name == "query" else watch.number_name
        return f"{name}: {missing}, so nobody knows whether {number} is {watch.bounds}"
    if verdict is _INCONCLUSIVE:
        return f"{name}: {watch.number_name} is missing or not a number, so nobody knows whether it is {watch.bounds}"
    if not watch.watches_number or value is None:
        return f"{name} fires"
    return f"{name}: {watch.number_name} {spell_number(value)} is {'' if verdict is _HOLDS else 'not '}{watch.bounds}"


def _missing(member: Member, verdict: Verdict) -> str:
    """What a query did not tell; "" when all did, or the number is missing for another reason."""
    if any(one.at is None for one in member.wants):
        return "the first answer of Prometheus is awaited"
    found = [one for one in member.wants if one.number is None]
    if verdict is not _INCONCLUSIVE or not found:
        return ""
    return f"query {one_line(found[0].query, SHOWN_QUERY)} has no number ({found[0].why})"


def too_old(at: datetime, now: datetime, why: str) -> str:
    return f"nothing newer than that of {spell_time(at, now)} was heard{f': {why}' if why else ''}"


def responds(first: Member, since: datetime, now: datetime, count: int, *, asking: bool) -> str:
    text = f"{verdict_of(first, first.verdict, first.value)} since {spell_time(since, now)}"
    if now - since >= timedelta(seconds=1):
        text += f" for {spell_duration(now - since)}"
    if count > 1:
        text += f"; {count} alerts"
    return f"{text}; asking instead of acting" if asking else text


def waits(why: str, since: datetime, due: datetime, now: datetime) -> str:
    return f"{why}; since {spell_time(since, now)}, waits until {spell_time(due, now)}"


def goes_on(state: GroupState, count: int) -> str:
    return f"the group is {state} already, {count} alert{'s' if count > 1 else ''} in it"


def calm_again(why: str, was: GroupState) -> str:
    return f"{why}; the group was {was} and is calm again"


def stands(first: Member, since: datetime, due: datetime | None, fired_at: datetime | None, *, asking: bool) -> str:
    """How a group stands now, for people."""
    text = verdict_of(first, first.verdict, first.value)
    if due is not None:
        return f"{text} since {spell_time(since, due)}, due at {spell_time(due, due)}"
    if fired_at is None:
        return text
    return f"{'asked' if asking else 'fired'} at {spell_time(fired_at, fired_at)}: {text} since {spell_time(since, fired_at)}"


# --- what is counted, kept, or held back --------------------------------------------------------------------------------


def kept_firing(member: Member, keep: timedelta) -> str:
    return f"{member.alert.name} is over, kept firing for {spell_duration(keep)}"


def goes_on_firing(until: datetime, now: datetime) -> str:
    return f"kept firing until {spell_time(until, now)}"


def held_back(name: str) -> str:
    return f"held back while {name} fires"


def gate(why: str, *, is_open: bool) -> str:
    return f"{why}; {'it holds the rule back no more' if is_open else 'the rule is held back meanwhile'}"


def settling(acted: datetime, now: datetime) -> str:
    return f"settling after the rollback of {spell_time(acted, now)}"


def cooling_down(responded: datetime, now: datetime) -> str:
    return f"cooling down since it responded at {spell_time(responded, now)}"


def many_ill(ill: int, declared: int, within: timedelta) -> str:
    return (
        f"{ill} of {declared} targets fell ill within {spell_duration(within)}:"
        " it is the cluster or a dependency, so nothing is rolled back"
    )


def count_of(number: int, above: int, within: timedelta, distinct: str | None) -> str:
    what = f"different {distinct}" if distinct else "time" if number == 1 else "times"
    return f"{number} {what} within {spell_duration(within)}, {'' if number > above else 'not '}more than {above}"


def streak_of(number: int, wanted: int) -> str:
    return f"{number} failed in a row, {'' if number >= wanted else 'less than '}{wanted} needed"


def ratio_of(ratio: float, above: float, failed: int, total: int, within: timedelta) -> str:
    text = f"{failed} of {total} failed within {spell_duration(within)}"
    return f"{text}: {spell_number(ratio)} is {'' if ratio > above else 'not '}above {spell_number(above)}"


def too_few(total: int, least: int, within: timedelta) -> str:
    return f"only {total} of {least} needed within {spell_duration(within)}"


def absence(last: datetime, at: datetime, after: timedelta, *, is_absent: bool, heard: bool, missed: timedelta) -> str:
    """missed: time in which nobody listened."""
    if not is_absent:
        return f"heard at {spell_time(last, at)}" if heard else f"nothing was heard yet, waiting since {spell_time(last, at)}"
    was = "heard since" if heard else "ever heard, waiting since"
    except_for = f" (without {spell_duration(missed)} in which Responder may not have run)" if missed else ""
    return f"nothing was {was} {spell_time(last, at)}, {spell_duration(after)} are over{except_for}"


def part_of(why: str, others: str, *, holds: bool) -> str:
    if holds or not others or others == why:
        return f"{why}; nothing changes"
    return f"{why}; not enough: {others}"
