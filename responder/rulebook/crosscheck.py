"""Checks that need more than one entry: names that must exist, and entries that contradict each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from responder.domain.rulebook import Response
from responder.domain.target import ArgoCdRef, CheckoutRef, ComposeRef, HelmRef, OnOwner, Place, WorkloadRef
from responder.domain.wording import did_you_mean
from responder.rulebook.condition_form import LeafForm, QueryForm
from responder.rulebook.declarations import Declarations, Declared
from responder.rulebook.form import RuleForm
from responder.rulebook.problem import Problem, Step
from responder.rulebook.step_check import StepCheck
from responder.rulebook.told_check import ToldCheck


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """names_known: False when a file could not be read, so that a missing name may stand there."""

    declarations: Declarations
    notifiers: Collection[str]
    names_known: bool = True

    def problems(self) -> Iterator[Problem]:
        yield from self._targets()
        yield from ToldCheck(self.declarations, self.notifiers, self.names_known).problems()
        yield from self._rules()
        yield from self._defaults()
        yield from self._freezes()
        yield from self._holds()
        yield from StepCheck(self.declarations, self.names_known).problems()
        yield from self._parameters()

    def _targets(self) -> Iterator[Problem]:
        """One place under two names would be two locks on one thing."""
        seen: dict[Place, str] = {}
        for name, target in self.declarations.targets.items():
            if target.form is None:
                continue
            place, word = target.form.place(), target.form.place_word
            other = seen.setdefault(_identity(place), name)
            if other != name:
                what = f"the same {_kind(place)} as target `{other}`"
                hint = f"declared at {self.declarations.targets[other].location}; one target per {_noun(place)}"
                yield target.problem((word,), what, hint)
            if target.form.owner is OnOwner.SUSPEND and not isinstance(place, WorkloadRef | HelmRef):
                hint = "it speaks of workloads and releases that Flux keeps; remove it"
                yield target.problem(("owner",), "`suspend` has no effect here", hint, at_key=True)
            if target.form.evict_unready and not (isinstance(place, WorkloadRef) and place.kind == "StatefulSet"):
                hint = "only a StatefulSet keeps broken pods; remove it"
                yield target.problem(("evict_unready",), "has no effect here", hint, at_key=True)

    def _rules(self) -> Iterator[Problem]:
        first: dict[str, Declared[RuleForm]] = {}
        for rule in self.declarations.rules:
            if rule.name and first.setdefault(rule.name, rule) is not rule:
                yield rule.problem(("name",), "declared twice", f"first at {first[rule.name].location}")
            yield from self._rule(rule)

    def _rule(self, rule: Declared[RuleForm]) -> Iterator[Problem]:
        target, plan = (rule.reference(key) for key in ("target", "plan"))
        if target is not None and not self._has_target(target):
            yield rule.problem(("target",), f"unknown target `{target}`", did_you_mean(target, self.declarations.targets))
        if plan is not None:
            if self.names_known and plan not in self.declarations.plans:
                yield rule.problem(("plan",), f"unknown plan `{plan}`", did_you_mean(plan, self.declarations.plans))
            if rule.form is not None and "respond" not in rule.form.model_fields_set:
                yield rule.problem(("plan",), "a plan, but nothing that runs it", "add `respond: rollback`", at_key=True)
        respond = rule.reference("respond")
        if respond in (Response.ROLLBACK, Response.APPROVE) and self.names_known and not self.declarations.targets:
            yield rule.problem(("respond",), "no target is declared that could be rolled back", "add one under `targets:`")
        if rule.form is not None:
            yield from self._people(rule, rule.form)
            yield from self._condition(rule, rule.form)

    @staticmethod
    def _people(rule: Declared[RuleForm], form: RuleForm) -> Iterator[Problem]:
        if "approve" in form.model_fields_set and form.respond is not Response.APPROVE:
            yield rule.problem(("approve",), "nobody is asked", "add `respond: approve`, or remove it", at_key=True)
        if form.grace and form.respond is Response.NOTIFY:
            what = "nothing is done after the countdown"
            yield rule.problem(("grace",), what, "add `respond: rollback`, or remove it", at_key=True)

    def _freezes(self) -> Iterator[Problem]:
        for frozen in self.declarations.freezes:
            for index, target in enumerate(frozen.form.targets if frozen.form is not None else ()):
                if not self._has_target(target):
                    hint = did_you_mean(target, self.declarations.targets)
                    yield frozen.problem(("targets", index), f"unknown target `{target}`", hint)

    def _defaults(self) -> Iterator[Problem]:
        for shared in self.declarations.defaults.values():
            plan = shared.reference("plan")
            if plan is not None and self.names_known and plan not in self.declarations.plans:
                yield shared.problem(("plan",), f"unknown plan `{plan}`", did_you_mean(plan, self.declarations.plans))

    def _condition(self, rule: Declared[RuleForm], form: RuleForm) -> Iterator[Problem]:
        when = form.when
        if form.unless is not None and when.unless is not None:
            yield rule.problem(("when", "unless"), "declared twice", "the rule has `unless` of its own", at_key=True)
        lists = (("all", when.every or ()), ("any", when.some or ()))
        parts = [(("when", key, index), part) for key, parts in lists for index, part in enumerate(parts)]
        for path, leaf in ((("when",), when), *parts):
            yield from self._queries(rule, form, path, leaf)
            if leaf.absent is None or not leaf.absent.from_start:
                continue
            at = (*path, "absent", "from_start")
            if form.by:
                yield rule.problem(at, "needs one group that is known beforehand", "remove `by`")
            elif form.target is None and (parts or form.respond is not Response.NOTIFY):
                yield rule.problem(at, "needs one group that is known beforehand", "add `target:` to the rule")

    @staticmethod
    def _queries(rule: Declared[RuleForm], form: RuleForm, path: tuple[Step, ...], leaf: LeafForm) -> Iterator[Problem]:
        """A query may be narrowed by what makes the group, and by nothing else: its number is the group's."""
        if leaf.value is None:
            return
        source, baseline = leaf.value.source, leaf.value.baseline
        asked = (
            (("from", "query"), source.query if isinstance(source, QueryForm) else None),
            (("baseline", "query"), None if baseline is None else baseline.query),
        )
        for where, query in asked:
            for label in () if query is None else query.labels:
                if label not in form.by:
                    what = f"{{{{ labels.{label} }}}} is not among the labels that make the group"
                    yield rule.problem((*path, "value", *where), what, f"add `{label}` to the rule's `by`")

    def _holds(self) -> Iterator[Problem]:
        for hold in self.declarations.holds[1:]:
            yield hold.problem((), "declared twice", f"first at {self.declarations.holds[0].location}", at_key=True)
        for limits in self.declarations.limits[1:]:
            yield limits.problem((), "declared twice", f"first at {self.declarations.limits[0].location}", at_key=True)

    def _has_target(self, name: str) -> bool:
        return name in self.declarations.targets or not self.names_known

    def _parameters(self) -> Iterator[Problem]:
        for step in self.declarations.steps:
            if step.parameters is None:
                continue
            target = _literal(step.parameters, "target")
            if target is not None and not self._has_target(target):
                hint = did_you_mean(target, self.declarations.targets)
                yield step.plan.problem((*step.path, "with", "target"), f"unknown target `{target}`", hint)
            notifier = _literal(step.parameters, "to") if step.form.uses == "notify" else None
            if notifier is not None and notifier not in self.notifiers:
                hint = did_you_mean(notifier, self.notifiers)
                yield step.plan.problem((*step.path, "with", "to"), f"unknown notifier `{notifier}`", hint)


def _identity(place: Place) -> Place:
    """What makes two declarations speak of one thing: what is done there may differ."""
    if isinstance(place, ComposeRef):
        return ComposeRef(place.project, "", place.host)
    return CheckoutRef(place.folder, place.host) if isinstance(place, CheckoutRef) else place


def _kind(place: Place) -> str:
    if isinstance(place, WorkloadRef):
        return place.kind
    return {HelmRef: "Helm release", ArgoCdRef: "application", ComposeRef: "project", CheckoutRef: "checkout"}[type(place)]


def _noun(place: Place) -> str:
    return "workload" if isinstance(place, WorkloadRef) else _kind(place)


def _literal(parameters: BaseModel, name: str) -> str | None:
    """The parameter when it is given as plain text; None for a template, which is known only when it runs."""
    value = getattr(parameters, name, None)
    return value if isinstance(value, str) and "{{" not in value else None
