"""The YAML form of who is told: routes, and the levels that are called when nobody has an incident in hand."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from responder.clients.smtp import is_mail_address
from responder.domain.rulebook import EscalationLevel, Route
from responder.rulebook.plan_form import default_of
from responder.rulebook.scalar import Duration, Severities
from responder.rulebook.strict_form import Form


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _address(text: str) -> str:
    if not is_mail_address(text):
        raise ValueError(f"{text!r} is no mail address; write for example oncall@example.com, without a name")
    return text


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("is empty")
    return values


_TEXTS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Addresses = Annotated[tuple[Annotated[str, AfterValidator(_address)], ...], BeforeValidator(_as_list), WithJsonSchema(_TEXTS)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_list), WithJsonSchema(_TEXTS)]
Notifiers = Annotated[Texts, AfterValidator(_not_empty)]


class RouteForm(Form):
    """Who is told."""

    shorthand = "to"
    to: Annotated[str, Field(description="Name of a notifier.")]
    severity: Annotated[Severities, Field(description="Only incidents of these severities.")] = default_of(Route, "severities")
    components: Annotated[dict[str, str], Field(description="Status page component ids by target.")] = {}  # noqa: RUF012
    addresses: Annotated[Addresses, Field(description="With `to: email`: our own people, who read everything.")] = default_of(
        Route, "addresses"
    )
    customers: Annotated[Addresses, Field(description="With `to: email`: those who read only what a status page would say.")] = (
        default_of(Route, "customers")
    )
    targets: Annotated[Texts, Field(description="Only incidents of these targets.")] = default_of(Route, "targets")


class EscalationForm(Form):
    """Who else is told when nobody has acknowledged an incident by then."""

    after: Annotated[Duration, Field(description="Since the incident opened.")]
    tell: Annotated[Notifiers, Field(description="Name of a notifier, or a list.")]
    severity: Annotated[Severities, Field(description="Only incidents of these severities.")] = default_of(
        EscalationLevel, "severities"
    )
    addresses: Annotated[Addresses, Field(description="For email, instead of the addresses of its routes.")] = default_of(
        EscalationLevel, "addresses"
    )
    contacts: Annotated[Texts, Field(description="Names and numbers that stand in what is told.")] = default_of(
        EscalationLevel, "contacts"
    )
    targets: Annotated[Texts, Field(description="For incidents of these targets, instead of the levels for everybody.")] = (
        default_of(EscalationLevel, "targets")
    )

    def level(self) -> EscalationLevel:
        return EscalationLevel(self.after, self.tell, self.severity, self.addresses, self.contacts, self.targets)
