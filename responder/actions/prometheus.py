"""`prometheus.check`: ask Prometheus until its answer holds, for as long as was asked for.

What is no number (an empty result, several series, NaN, a warning, an error, silence) does not hold: the step does not pass by
it, and a stretch that must hold begins anew. It goes on until the step's timeout, or until `failures` answers in a row did not
hold; a query that Prometheus refuses as wrong ends it at once.

`rate(x[5m])` right after a rollback still counts what was before it. Unless `wait_for_window` is off, nothing is asked before the
query's range has passed since the rollback: since its step ended, or since something was first changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from responder.actions.prometheus_parameters import PrometheusCheckParameters
from responder.domain.incident import Incident
from responder.domain.measurement import Measurement
from responder.domain.plan import ROLLBACKS
from responder.domain.query import parse_query, window_of
from responder.domain.reading import Verdict, judge, spell_bounds
from responder.domain.wording import one_line, spell_duration, spell_number
from responder.errors import PermanentError, TemporaryError
from responder.ports import Prometheus, StepContext

_SHOWN = 120  # characters of a query


class PrometheusCheck:
    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        check = PrometheusCheckParameters.read(parameters)
        await self._wait_before(check, context)
        query = filled_in(check.query, context)
        good_since: datetime | None = None
        good = failures = 0
        while True:
            told = await self._prometheus.measure(query)
            now = context.now()
            said = _said(check, told)
            if told.is_refused:
                raise PermanentError(f"{_shown(query)}: {said}")
            if _holds(check, told):
                good_since, good, failures = good_since or now, good + 1, 0
                lasted, wanted = now - good_since, check.hold or timedelta(0)
                if lasted >= wanted:
                    return f"{_shown(query)}: {said}{f' for {spell_duration(lasted)}, {good} answers' if check.hold else ''}"
                context.progress(f"{_shown(query)}: {said}, for {spell_duration(lasted)} of {spell_duration(wanted)}")
            else:
                good_since, good, failures = None, 0, failures + 1
                context.progress(f"{_shown(query)}: {said}")
                if failures == check.failures:
                    raise TemporaryError(f"{_shown(query)}: {said}; {failures} answer{'s' if failures > 1 else ''} in a row")
            await context.sleep(check.every)

    async def _wait_before(self, check: PrometheusCheckParameters, context: StepContext) -> None:
        if check.initial_delay is not None:
            context.progress(f"waiting {spell_duration(check.initial_delay)} before the first question")
            await context.sleep(check.initial_delay)
        window = window_of(check.query)
        changed = _changed_at(context.incident)
        if not check.wait_for_window or not window or changed is None:
            return
        rest = min(changed + window - context.now(), window)  # a clock that was set back must not make it longer
        if rest > timedelta(0):
            until = context.now() + rest
            context.progress(
                f"waiting until {until:%H:%M:%S} UTC: until then the query's range of {spell_duration(window)} also holds "
                "what was before the rollback"
            )
            await context.sleep(rest)

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        check = PrometheusCheckParameters.read(parameters)
        query = filled_in(check.query, context)
        return f"would ask Prometheus for {_shown(query)}; now {_said(check, await self._prometheus.measure(query))}"


def filled_in(text: str, context: StepContext) -> str:
    """The query with its places filled in, as quoted strings. Raises PermanentError when a label is missing."""
    query = parse_query(text)
    labels = context.incident.trigger_labels
    missing = [name for name in query.labels if name not in labels]
    if missing:
        raise PermanentError(f"the query can't be filled in: the alert has no label {', '.join(missing)}")
    return query.render(context.target, labels)


def _changed_at(incident: Incident) -> datetime | None:
    """When the service was last changed by a rollback; None when it was not."""
    ended = [step.ended_at for step in incident.steps if step.uses in ROLLBACKS and step.ended_at is not None]
    if incident.acted_at is None:
        return None
    return max(ended, default=incident.acted_at)


def _holds(check: PrometheusCheckParameters, told: Measurement) -> bool:
    return judge(check.condition(), told.number) is Verdict.HOLDS


def _said(check: PrometheusCheckParameters, told: Measurement) -> str:
    if told.number is None:
        return f"no number ({told.why})"
    bounds = f"equal to {spell_number(check.equals)}" if check.equals is not None else spell_bounds(check.condition())
    return f"{spell_number(told.number)} is {'' if _holds(check, told) else 'not '}{bounds}"


def _shown(query: str) -> str:
    return one_line(query, _SHOWN)
