"""Checks on who is told that need more than one entry."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta

from responder.domain.rulebook import Severity
from responder.rulebook.declarations import Declarations, Declared
from responder.rulebook.problem import Problem, did_you_mean
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
        told: dict[str, set[Severity]] = {}
        for route in self.declarations.routes:
            if route.form is None:
                continue
            name = route.form.to
            if name not in self.notifiers:
                yield route.problem(("to",), f"unknown notifier `{name}`", did_you_mean(name, self.notifiers))
                continue
            twice = route.form.severity & told.setdefault(name, set())
            if twice and name != _MAIL:  # one mail goes to the addresses of all of them
                yield route.problem(
                    ("to",), f"`{name}` would be told twice about {', '.join(sorted(twice))}", "merge the two routes"
                )
            told[name] |= route.form.severity
            yield from self._components(route, route.form)
            yield from _addresses(route, route.form)

    def _components(self, route: Declared[RouteForm], form: RouteForm) -> Iterator[Problem]:
        for target in form.components:
            if target not in self.declarations.targets and self.names_known:
                hint = did_you_mean(target, self.declarations.targets)
                yield route.problem(("components", target), f"unknown target `{target}`", hint, at_key=True)

    def _levels(self) -> Iterator[Problem]:
        told: dict[timedelta, set[Severity]] = {}
        mailed = any(route.form is not None and route.form.addresses for route in self.declarations.routes)
        for level in self.declarations.levels:
            if level.form is None:
                continue
            yield from self._level(level, level.form, mailed=mailed)
            twice = level.form.severity & told.setdefault(level.form.after, set())
            if twice:
                what = f"two levels at the same time for {', '.join(sorted(twice))}"
                yield level.problem(("after",), what, "merge the two levels")
            told[level.form.after] |= level.form.severity

    def _level(self, level: Declared[EscalationForm], form: EscalationForm, *, mailed: bool) -> Iterator[Problem]:
        for name in form.tell:
            if name not in self.notifiers:
                yield level.problem(("tell",), f"unknown notifier `{name}`", did_you_mean(name, self.notifiers))
        if form.addresses and _MAIL not in form.tell:
            yield level.problem(("addresses",), "nobody is mailed", "add `email` to `tell`, or remove it", at_key=True)
        if _MAIL in form.tell and not form.addresses and not mailed and self.names_known:
            yield level.problem(("tell",), "`email` has no address", "add `addresses:` here or to a route to email")


def _addresses(route: Declared[RouteForm], form: RouteForm) -> Iterator[Problem]:
    if form.to == _MAIL:
        if not form.addresses and not form.customers:
            yield route.problem(("to",), "`email` has no address", "add `addresses:` or `customers:`")
        return
    for key in ("addresses", "customers"):
        if getattr(form, key):
            yield route.problem((key,), "only mail has addresses", "write `to: email`, or remove it", at_key=True)
