"""The YAML form of what a rule leaves to people: who says yes, how long they have; and what rules of one severity share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from responder.domain.rulebook import ApprovalTerms, Freeze, Response, Unanswered
from responder.rulebook.plan_form import default_of
from responder.rulebook.scalar import Duration, Name, PositiveDuration
from responder.rulebook.strict_form import Form

_PERSON_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}"


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _person(name: str) -> str:
    if re.fullmatch(_PERSON_PATTERN, name) is None:
        raise ValueError(f"{name!r} is not the name of a person or a role; use letters, digits and `_.@+-`")
    return name


_PERSON_SCHEMA = {"type": "string", "pattern": f"^{_PERSON_PATTERN}$"}
People = Annotated[
    tuple[Annotated[str, AfterValidator(_person)], ...],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [_PERSON_SCHEMA, {"type": "array", "items": _PERSON_SCHEMA}]}),
]


class ApproveForm(Form):
    """A person's yes before anything is done."""

    shorthand = "by"
    by: Annotated[People, Field(description="People or roles whose word counts; without it, everybody who may operate.")] = (
        default_of(ApprovalTerms, "by")
    )
    within: Annotated[PositiveDuration, Field(description="How long the request stands.")] = default_of(ApprovalTerms, "within")
    unanswered: Annotated[Unanswered, Field(description="When nobody answers: refuse, or proceed all the same.")] = default_of(
        ApprovalTerms, "unanswered"
    )

    def terms(self) -> ApprovalTerms:
        return ApprovalTerms(within=self.within, by=self.by, unanswered=self.unanswered)


def _cron(text: str) -> str:
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(text, _SOME_TIME))
    except CronSimError as error:
        what = str(error)[:1].lower() + str(error)[1:]
        raise ValueError(f"{text!r} is no cron expression ({what}); write for example 0 17 * * FRI") from None
    except StopIteration:
        raise ValueError(f"{text!r} never comes") from None
    return text


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; write for example Europe/Zurich or UTC") from None
    return name


_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)


class InFreeze(StrEnum):
    REFUSE = "refuse"
    APPROVE = "approve"


class FreezeForm(Form):
    """A window that comes again and again, in which nothing is rolled back by itself."""

    cron: Annotated[str, AfterValidator(_cron), Field(description="When it begins: minute, hour, day, month, day of the week.")]
    duration: Annotated[PositiveDuration, Field(description="How long it lasts.")]
    reason: Annotated[str, Field(min_length=1, description="Why; everybody sees it.")]
    timezone: Annotated[str, AfterValidator(_timezone), Field(description="Of `cron`, as an IANA name.")] = default_of(
        Freeze, "timezone"
    )
    targets: Annotated[
        tuple[Name, ...],
        BeforeValidator(_as_list),
        Field(description="Only these; without it, all."),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    ] = default_of(Freeze, "targets")
    rollbacks: Annotated[InFreeze, Field(description="refuse them, or ask a person to approve them.")] = InFreeze.REFUSE


class SeverityDefaultsForm(Form):
    """What rules of one severity do that don't say so themselves."""

    respond: Response | None = None
    plan: Annotated[str | None, Field(description="Plan to run, for rules that respond with one.")] = None
    grace: Annotated[Duration | None, Field(description="A countdown before acting.")] = None
    approve: Annotated[ApproveForm | None, Field(description="For rules with `respond: approve`.")] = None
