"""Alertmanager's API, for a second look at alerts. One or several replicas that are told the same alerts.

Matchers are sent only to keep the answer short: those with a regular expression stay here, since Go's dialect is not ours, and
callers hold what comes back against their matchers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit

import httpx

from responder.clients.http import Answer, request
from responder.domain.listing import ListedAlert, Listing
from responder.domain.matcher import Matcher, MatchOperator
from responder.domain.signal import EXPORTED_SOURCE, SOURCE_LABEL
from responder.errors import PermanentError, ResponderError

ANSWERS_WITHIN = timedelta(seconds=2)
SETTLED_AFTER = timedelta(minutes=5)
"""A replica keeps alerts in memory only: for so long after its start it may not have been told everything again.

Prometheus repeats what fires at least every minute or evaluation interval, whichever is longer.
"""

_EVERYTHING = (("active", "true"), ("silenced", "true"), ("inhibited", "true"))
_SENT = frozenset({MatchOperator.EQUAL, MatchOperator.NOT_EQUAL})
_OURS = frozenset({SOURCE_LABEL, EXPORTED_SOURCE})  # labels that an alert has with us, or has under another name at its sender


class AlertmanagerClient:
    """urls: of the replicas, as people open them. token: sent as bearer."""

    def __init__(
        self,
        urls: Sequence[str],
        http: httpx.AsyncClient,
        *,
        token: str | None = None,
        answers_within: timedelta = ANSWERS_WITHIN,
        settled_after: timedelta = SETTLED_AFTER,
    ) -> None:
        self._urls = tuple(urls)
        self._http = http
        self._token = token
        self._answers_within = answers_within
        self._settled_after = settled_after

    async def alerts(self, matchers: Iterable[Matcher]) -> Listing:
        """What all replicas list now for these matchers, silenced and inhibited alerts too. Raises nothing of its own."""
        filters = [str(matcher) for matcher in matchers if matcher.operator in _SENT and matcher.name not in _OURS]
        return _together(await asyncio.gather(*(self._ask(url, filters) for url in self._urls)))

    async def _ask(self, url: str, filters: Sequence[str]) -> Listing:
        name = f"Alertmanager at {urlsplit(url).hostname}"
        query = urlencode([*_EVERYTHING, *(("filter", one) for one in filters)])
        listed, state = await asyncio.gather(
            self._get(f"{url}/api/v2/alerts?{query}", name), self._get(f"{url}/api/v2/status", name), return_exceptions=True
        )
        try:
            alerts = _read_alerts(_answer(listed), name)
        except ResponderError as error:
            return Listing(troubles=(str(error),))
        try:
            up_for = _up_for(_answer(state), name)
        except ResponderError as error:
            return Listing(alerts, troubles=(str(error),))
        if up_for < self._settled_after:
            return Listing(alerts, troubles=(f"{name} was started only {up_for.total_seconds():.0f} s ago",))
        return Listing(alerts, knows_absence=True)

    async def _get(self, url: str, name: str) -> Answer:
        secrets = (url,) if self._token is None else (url, self._token)
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        return await request(self._http, "GET", url, service=name, headers=headers, timeout=self._answers_within, secrets=secrets)


def _together(listings: Sequence[Listing]) -> Listing:
    """Active at one replica is active; a silence takes a while until all replicas know it."""
    alerts: dict[str, ListedAlert] = {}
    for listing in listings:
        for alert in listing.alerts:
            known = alerts.get(alert.key)
            if known is None or (alert.is_active and not known.is_active):
                alerts[alert.key] = alert
    return Listing(
        tuple(alerts.values()),
        any(listing.knows_absence for listing in listings),
        tuple(trouble for listing in listings for trouble in listing.troubles),
    )


def _answer(answer: Answer | BaseException) -> Answer:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _read(answer: Answer, name: str) -> object:
    if not answer.complete:
        raise PermanentError(f"{name} lists more than can be read: give the rule matchers with `=`")
    try:
        return answer.json()
    except ValueError:
        raise PermanentError(f"{name} answered with something that is not JSON: is the address right?") from None


def _read_alerts(answer: Answer, name: str) -> tuple[ListedAlert, ...]:
    document = _read(answer, name)
    try:
        return tuple(_read_alert(_mapping(one)) for one in _list(document))
    except (KeyError, TypeError, ValueError):
        raise PermanentError(f"{name} does not list its alerts as API v2 does: is the address right?") from None


def _read_alert(one: Mapping[str, object]) -> ListedAlert:
    started_at = datetime.fromisoformat(str(one["startsAt"]))
    if started_at.tzinfo is None:
        raise ValueError("a time without its zone")
    return ListedAlert(
        key=str(one["fingerprint"]),
        labels=_texts(one["labels"]),
        annotations=_texts(one.get("annotations") or {}),
        started_at=started_at,
        held_back_by=_held_back(_mapping(one["status"])),
    )


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return value


def _texts(value: object) -> dict[str, str]:
    return {name: str(text) for name, text in _mapping(value).items()}


def _held_back(status: Mapping[str, object]) -> str:
    """`mutedBy` (of a time interval) came in 0.28; before, nobody can tell. A state we don't know of is not active."""
    if status.get("silencedBy"):
        return f"silence {_list(status['silencedBy'])[0]}"
    if status.get("inhibitedBy"):
        return "an inhibition"
    if status.get("mutedBy"):
        return f"mute time {_list(status['mutedBy'])[0]}"
    state = str(status["state"])
    return "" if state in ("active", "unprocessed") else state


def _up_for(answer: Answer, name: str) -> timedelta:
    """By the replica's own clock, so that clocks that differ don't matter."""
    document = _read(answer, name)
    try:
        started = datetime.fromisoformat(str(_mapping(document)["uptime"]))
        now = parsedate_to_datetime(answer.headers.get("date", ""))
        return max(timedelta(0), now.astimezone(UTC) - started)  # `Date` knows whole seconds only
    except (KeyError, TypeError, ValueError):
        raise PermanentError(f"{name} does not say since when it runs") from None
