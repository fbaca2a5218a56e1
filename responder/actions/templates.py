"""Templates in plans: sandboxed, strict, and only text comes out.

Known names: `incident` (id, rule, severity, status, reason, link), `target`, `labels`, `annotations`, `value`, and `version`
(`version.from`, `version.to`) in a run that has a pin. What an alert brings is data: it is never read as a template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from responder.domain.incident import Incident
from responder.errors import PermanentError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

NAMES = frozenset({"incident", "target", "labels", "annotations", "value", "version"})
RENDERED_LIMIT = 10_000


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def check_template(text: str) -> str:
    """Return the text. Raises ValueError when it is a template that can't work."""
    if not is_template(text):
        return text
    from jinja2 import TemplateSyntaxError, meta

    try:
        unknown = meta.find_undeclared_variables(_environment().parse(text)) - NAMES
    except TemplateSyntaxError as error:
        raise ValueError(f"is not a template: {error.message}") from error
    if unknown:
        raise ValueError(f"unknown name {', '.join(sorted(unknown))}; a template knows {', '.join(sorted(NAMES))}")
    return text


def render(text: str, incident: Incident, target: str) -> str:
    """Fill in the template. Raises PermanentError naming what is missing."""
    if not is_template(text):
        return text
    from jinja2 import TemplateError

    try:
        rendered = _environment().from_string(text).render(_values(incident, target))
    except TemplateError as error:
        raise PermanentError(
            f"the template can't be filled in: {error.message}; add `| default('…')` if it may be missing"
        ) from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, MemoryError) as error:
        raise PermanentError(f"the template can't be filled in: {type(error).__name__}: {error}") from None
    return rendered[:RENDERED_LIMIT]


class _Names:
    """A mapping read by name only, so that a label called `items` is that label and not a method."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._values.items())


def _values(incident: Incident, target: str) -> Mapping[str, object]:
    pin = incident.pins.get(target)
    values: dict[str, object] = {
        "incident": _Names(
            {
                "id": incident.id,
                "rule": incident.rule,
                "severity": incident.severity.value,
                "status": incident.status.value,
                "reason": incident.reason,
                "link": incident.trigger_link,
            }
        ),
        "target": target,
        "labels": _Names(incident.trigger_labels),
        "annotations": _Names(incident.trigger_annotations),
    }
    if incident.value is not None:
        values["value"] = incident.value
    if pin is not None:
        values["version"] = _Names({"from": pin.from_version.version, "to": pin.to_version.version})
    return values


def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Missing(StrictUndefined):
        @property
        def _undefined_message(self) -> str:
            return f"there is no {self._undefined_name!r}"

    # Plain text comes out, and each notifier escapes for its own service: escaping for HTML here would be shown to people.
    return ImmutableSandboxedEnvironment(undefined=Missing, autoescape=False)
