"""Checks on who is told that need more than one entry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from responder.domain.rulebook import Severity
from responder.domain.wording import did_you_mean
from responder.rulebook.declarations import Declarations, Declared
from responder.rulebook.problem import Problem
from responder.rulebook.told_form import EscalationForm, RouteForm

_MAIL = "email"


@dataclass(frozen=True, slots=True)
class ToldCheck:
    """names_known: False when a file could not be read, so that a missing name may stand there."""

    declarations: Declarations
    notifiers: Collection[str]
    names_known: bool

    def problems(self) -> Iterator[Problem]:
        yield from self._routes()
        yield from self._levels()

    def _routes(self) -> Iterator[Problem]:
        told: dict[str, list[RouteForm]] = {}
        for route in self.declarations.routes:
            if route.form is None:
                continue
            name = route.form.to
            yield from self._targets(route, route.form.targets)
            if name not in self.notifiers:
                yield route.problem(("to",), f"unknown notifier `{name}`", did_you_mean(name, self.notifiers))
                continue
            twice = _both(route.form, told.get(name, ()), everybody_is_each=True)
            if twice and name != _MAIL:  # one mail goes to the addresses of all of them
                yield route.problem(("to",), f"`{name}` would be told twice about {twice}", "merge the two routes")
            told.setdefault(name, []).append(route.form)
            yield from self._components(route, route.form)
            yield from _addresses(route, route.form)

    def _targets(self, entry: Declared[Any], named: Collection[str]) -> Iterator[Problem]:
        for index, target in enumerate(named):
            if target not in self.declarations.targets and self.names_known:
                path = ("targets",) if entry.reference("targets") is not None else ("targets", index)
                yield entry.problem(path, f"unknown target `{target}`", did_you_mean(target, self.declarations.targets))

    def _components(self, route: Declared[RouteForm], form: RouteForm) -> Iterator[Problem]:
        for target in form.components:
            if target not in self.declarations.targets and self.names_known:
                hint = did_you_mean(target, self.declarations.targets)
                yield route.problem(("components", target), f"unknown target `{target}`", hint, at_key=True)

    def _levels(self) -> Iterator[Problem]:
        told: dict[timedelta, list[EscalationForm]] = {}
        mailed = any(route.form is not None and route.form.addresses for route in self.declarations.routes)
        for level in self.declarations.levels:
            if level.form is None:
                continue
            yield from self._level(level, level.form, mailed=mailed)
            yield from self._targets(level, level.form.targets)
            twice = _both(level.form, told.get(level.form.after, ()), everybody_is_each=False)
            if twice:
                yield level.problem(("after",), f"two levels at the same time for {twice}", "merge the two levels")
            told.setdefault(level.form.after, []).append(level.form)

    def _level(self, level: Declared[EscalationForm], form: EscalationForm, *, mailed: bool) -> Iterator[Problem]:
        for name in form.tell:
            if name not in self.notifiers:
                yield level.problem(("tell",), f"unknown notifier `{name}`", did_you_mean(name, self.notifiers))
        if form.addresses and _MAIL not in form.tell:
            yield level.problem(("addresses",), "nobody is mailed", "add `email` to `tell`, or remove it", at_key=True)
        if _MAIL in form.tell and not form.addresses and not mailed and self.names_known:
            yield level.problem(("tell",), "`email` has no address", "add `addresses:` here or to a route to email")


def _both(form: RouteForm | EscalationForm, others: Iterable[RouteForm | EscalationForm], *, everybody_is_each: bool) -> str:
    """Severities it has in common with earlier ones. everybody_is_each: without targets it concerns those that others name."""
    severities: set[Severity] = set()
    for other in others:
        together = set(form.targets) & set(other.targets) or not (form.targets or other.targets)
        if together or (everybody_is_each and not (form.targets and other.targets)):
            severities |= form.severity & other.severity
    return ", ".join(sorted(severities))


def _addresses(route: Declared[RouteForm], form: RouteForm) -> Iterator[Problem]:
    if form.to == _MAIL:
        if not form.addresses and not form.customers:
            yield route.problem(("to",), "`email` has no address", "add `addresses:` or `customers:`")
        return
    for key in ("addresses", "customers"):
        if getattr(form, key):
            yield route.problem((key,), "only mail has addresses", "write `to: email`, or remove it", at_key=True)
