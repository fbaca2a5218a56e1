"""Jinja2 in plans: sandboxed, strict, and what an alert brings is data, never read as a template.

A *text* (`render`) may name everything: `incident` (id, rule, severity, status, reason, link), `target`, `labels`, `annotations`,
`value`, `version` (from, to, deployed_at; in a run that has a pin), `inputs`, `order` (by, reason, create_backup,
skip_validation, immediate).
An *argument* (`render_argument`: part of a command, a body, a field of an object) may name only what the rulebook's author has in
hand: `inputs` (held against their patterns), `target`, `version`, `incident.id`. A *condition* (`holds`) is an expression over
the names of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from responder.domain.incident import Incident, Order
from responder.domain.plan import filled_inputs
from responder.domain.version import Pin
from responder.errors import PermanentError

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

NAMES = frozenset({"incident", "target", "labels", "annotations", "value", "version", "inputs", "order"})
ARGUMENT_NAMES = frozenset({"incident", "target", "version", "inputs"})
RENDERED_LIMIT = 10_000
_FROM_OUTSIDE = {"labels", "annotations", "inputs"}  # their values are text, whatever they look like


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def check_template(text: str) -> str:
    """Return the text. Raises ValueError when it is a template that can't work."""
    if is_template(text):
        _check_names(_parsed(text), NAMES)
    return text


def check_argument(text: str) -> str:
    """Return the text. Raises ValueError when it is a template that can't work, or lets an alert choose."""
    if not is_template(text):
        return text
    from jinja2 import nodes

    tree = _parsed(text)
    _check_names(tree, ARGUMENT_NAMES, "here; what an alert says may stand in texts only")
    whole = sum(
        isinstance(node.node, nodes.Name) and node.node.name == "incident" for node in _members(tree) if _key(node) == "id"
    )
    if whole != sum(node.name == "incident" for node in tree.find_all(nodes.Name)):
        raise ValueError("of the incident only `incident.id` may be named here")
    return text


def check_condition(text: str) -> str:
    """Return the expression. Raises ValueError when it can't come out true or false."""
    from jinja2 import nodes

    if is_template(text):
        raise ValueError("is an expression already: write it without {{ }}")
    expression = _parsed_expression(text)
    _check_names(_as_template(expression), NAMES)
    is_text = isinstance(expression, nodes.Getattr | nodes.Getitem) and any(
        _is_name(expression.node, name) for name in _FROM_OUTSIDE
    )
    if is_text or isinstance(expression, nodes.Const | nodes.List | nodes.Dict):
        raise ValueError("must come out true or false: compare it, such as inputs.region == 'eu'")
    return text


def named_inputs(text: str, *, condition: bool = False) -> frozenset[str]:
    """Names of the inputs that a template, or a condition, asks for."""
    if not condition and not is_template(text):
        return frozenset()
    tree = _as_template(_parsed_expression(text)) if condition else _parsed(text)
    found = (_key(node) for node in _members(tree) if _is_name(node.node, "inputs"))
    return frozenset(key for key in found if key is not None)


def render(text: str, incident: Incident, target: str) -> str:
    """Fill in a text for people. Raises PermanentError naming what is missing."""
    return _render(text, _values(incident, target))[:RENDERED_LIMIT] if is_template(text) else text


def render_argument(text: str, incident: Incident, target: str) -> str:
    """Fill in what reaches a command, a body or an object. Raises PermanentError naming what is missing."""
    if not is_template(text):
        return text
    known = _values(incident, target)
    values = {name: known[name] for name in ARGUMENT_NAMES & known.keys()}
    rendered = _render(text, {**values, "incident": _Names({"id": incident.id})})
    if len(rendered) > RENDERED_LIMIT:
        raise PermanentError(f"the template comes out longer than {RENDERED_LIMIT} characters")
    return rendered


def holds(expression: str, incident: Incident, target: str) -> bool:
    """Whether a step's `if` is true. Raises PermanentError when that can't be told, or is neither true nor false."""
    outcome = _guarded(lambda: _expression(expression)(**_values(incident, target)), "`if` can't be evaluated")
    if not isinstance(outcome, bool):
        raise PermanentError(f"`if` must come out true or false, not {type(outcome).__name__}")
    return outcome


def _render(text: str, values: Mapping[str, object]) -> str:
    rendered: str = _guarded(lambda: _template(text).render(values), "the template can't be filled in")
    return rendered


def _guarded(work: Callable[[], Any], what: str) -> Any:
    from jinja2 import TemplateError

    try:
        return work()
    except TemplateError as error:
        raise PermanentError(f"{what}: {error.message}; add `| default('…')` if it may be missing") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, MemoryError, RecursionError) as error:
        raise PermanentError(f"{what}: {type(error).__name__}: {error}") from None


class _Names:
    """A mapping read by name only, so that a label called `items` is that label and not a method."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

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
        "inputs": _Names(filled_inputs(incident.plan, incident.inputs) if incident.plan else incident.inputs),
        "order": _Names(_order(incident)),
    }
    if incident.value is not None:
        values["value"] = incident.value
    if pin is not None:
        values["version"] = _Names(_version(pin))
    return values


def _version(pin: Pin) -> Mapping[str, object]:
    """deployed_at: when the version that is replaced was rolled out, in UTC; missing where that is not known."""
    names: dict[str, object] = {"from": pin.from_version.version, "to": pin.to_version.version}
    if pin.from_version.created_at is not None:
        names["deployed_at"] = f"{pin.from_version.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return names


def _order(incident: Incident) -> Mapping[str, object]:
    """What a person ordered; for a run that an alert began, nothing of it."""
    order = incident.order or Order("", "")
    return {name: getattr(order, name) for name in ("by", "reason", "create_backup", "skip_validation", "immediate")}


def _parsed(template: str) -> nodes.Template:
    from jinja2 import TemplateSyntaxError

    try:
        return _environment().parse(template)
    except TemplateSyntaxError as error:
        raise ValueError(f"is not a template: {error.message}") from error


def _parsed_expression(text: str) -> nodes.Expr:
    from jinja2 import TemplateSyntaxError
    from jinja2.parser import Parser

    parser = Parser(_environment(), text, state="variable")
    try:
        expression = parser.parse_expression()
        rest = "" if parser.stream.eos else f"`{parser.stream.current.value}` is one word too many"
    except TemplateSyntaxError as error:
        rest = "it ends too early" if parser.stream.eos else error.message or ""
    if rest:
        raise ValueError(f"is not an expression: {rest}")
    return expression


def _as_template(expression: nodes.Expr) -> nodes.Template:
    from jinja2 import nodes

    template = nodes.Template([nodes.Output([expression])], lineno=1)
    template.set_environment(_environment())
    return template


def _check_names(tree: nodes.Template, known: frozenset[str], where: str = "") -> None:
    from jinja2 import meta

    unknown = meta.find_undeclared_variables(tree) - known
    if "vars" in unknown:
        raise ValueError("vars stand alone, as in `{{ vars.name }}`: they are filled in when the rulebook is loaded")
    if unknown & NAMES:
        raise ValueError(f"no {', '.join(sorted(unknown))} {where}".rstrip())
    if unknown:
        raise ValueError(f"unknown name {', '.join(sorted(unknown))}; a template knows {', '.join(sorted(known))}")


def _is_name(node: nodes.Node, name: str) -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.Name) and node.name == name


def _members(tree: nodes.Template) -> list[Any]:
    from jinja2 import nodes

    return [*tree.find_all(nodes.Getattr), *tree.find_all(nodes.Getitem)]


def _key(node: nodes.Getattr | nodes.Getitem) -> str | None:
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None


@lru_cache(maxsize=256)  # compiling costs a hundred times what filling in does
def _template(text: str) -> Any:
    return _environment().from_string(text)


@lru_cache(maxsize=256)
def _expression(text: str) -> Callable[..., object]:
    return _environment().compile_expression(text, undefined_to_none=False)


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Missing(StrictUndefined):
        @property
        def _undefined_message(self) -> str:
            return f"there is no {self._undefined_name!r}"

    # Plain text comes out, and each notifier escapes for its own service: escaping for HTML here would be shown to people.
    # The last line break stays: it is part of what a program reads.
    return ImmutableSandboxedEnvironment(undefined=Missing, autoescape=False, keep_trailing_newline=True)
