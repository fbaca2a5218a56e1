"""Saying that a suppression ends soon while something still fires under it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from responder.domain.decision import Decision
from responder.domain.notification import Moment
from responder.domain.people import Suppression
from responder.domain.wording import spell_time
from responder.engine.announcer import Tell
from responder.engine.desk import IncidentDesk
from responder.engine.restraint import Restraint


async def announce_end(
    suppression: Suppression, firing: Iterable[Decision], now: datetime, *, desk: IncidentDesk, restraint: Restraint
) -> None:
    """On the record of the first that it holds back; of one that holds nothing back nobody needs to hear."""
    records = []
    for decision in firing:
        stay = restraint.stay_of(decision, now)
        if stay is not None and stay.mark == f"suppressed {suppression.id}":
            record = await desk.find(stay.identity(decision.identity))
            records += [] if record is None else [record]
    if not records:
        return
    names = ", ".join(dict.fromkeys(f"{one.rule} on {one.target}" if one.target else one.rule for one in records))
    ends = f"ends at {spell_time(suppression.until, now)}"
    text = (
        f"The suppression by {suppression.by} ({suppression.reason}) {ends}. Still going on: {names}. Responder acts on it then."
    )
    event = desk.event("suppression_ends", f"the suppression {ends}")
    await desk.change(records[0].id, lambda known: known, [event], [Tell(Moment.NOTICE, text)])
