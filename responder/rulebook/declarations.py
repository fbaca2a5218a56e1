"""What the files of one set declare, each entry by itself, so that one wrong entry hides no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from responder.domain.rulebook import Response, Severity
from responder.domain.wording import did_you_mean, listed
from responder.rulebook.explain import explain, where
from responder.rulebook.form import HoldForm, LimitsForm, RulebookForm, RuleForm
from responder.rulebook.people_form import FreezeForm, SeverityDefaultsForm
from responder.rulebook.plan_form import STRUCTURE, PlanForm, StepForm
from responder.rulebook.problem import Problem, Step
from responder.rulebook.scalar import TemplateName, check_name
from responder.rulebook.source import Source
from responder.rulebook.strict_form import Form
from responder.rulebook.target_form import TargetForm
from responder.rulebook.told_form import EscalationForm, RouteForm
from responder.rulebook.variables import Scalar, Variable, fill_in, unknown_in

FormT = TypeVar("FormT", bound=Form)
Path = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Declared(Generic[FormT]):
    """One entry. form: None when the entry itself is wrong (its problems are reported already)."""

    name: str
    form: FormT | None
    source: Source
    path: Path

    @property
    def location(self) -> str:
        return f"{self.source.file}:{self.source.position(self.path, at_key=True)[0]}"

    def reference(self, *path: Step) -> str | None:
        """The name written at `path` below this entry, even when the entry is wrong elsewhere."""
        value = self.source.value((*self.path, *path))
        return value if isinstance(value, str) else None

    def problem(self, path: Sequence[Step], what: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """A problem at `path` below this entry."""
        full = (*self.path, *path)
        return self.source.problem(full, where(self.source, self.source.existing(full)), what, hint, at_key=at_key)


@dataclass(frozen=True, slots=True)
class DeclaredStep:
    """path: below its plan. parameters: the validated `with`; None when it is wrong."""

    plan: Declared[PlanForm]
    path: Path
    form: StepForm
    parameters: BaseModel | None


@dataclass(slots=True)
class Declarations:
    """told: True when some file has a `notify` section. steps: those of right form, also of plans that are wrong elsewhere.

    steps: nested ones too, each after the one it stands in. variables: of all files together.
    """

    targets: dict[str, Declared[TargetForm]] = field(default_factory=dict)
    rules: list[Declared[RuleForm]] = field(default_factory=list)
    plans: dict[str, Declared[PlanForm]] = field(default_factory=dict)
    routes: list[Declared[RouteForm]] = field(default_factory=list)
    levels: list[Declared[EscalationForm]] = field(default_factory=list)
    holds: list[Declared[HoldForm]] = field(default_factory=list)
    limits: list[Declared[LimitsForm]] = field(default_factory=list)
    freezes: list[Declared[FreezeForm]] = field(default_factory=list)
    defaults: dict[str, Declared[SeverityDefaultsForm]] = field(default_factory=dict)
    steps: list[DeclaredStep] = field(default_factory=list)
    variables: dict[str, Scalar] = field(default_factory=dict)
    told: bool = False
    problems: list[Problem] = field(default_factory=list)


def declare(sources: Sequence[Source], actions: Mapping[str, type[BaseModel]]) -> Declarations:
    """Validate every entry of every file against the form; collects all problems."""
    declarations = Declarations()
    words = {**STRUCTURE, **actions}
    first: dict[str, str] = {}
    for source in sources:
        _declare_variables(source, declarations, first)
    for source in sources:
        _declare_file(source, words, declarations)
    _share(declarations)
    return declarations


def _declare_file(source: Source, actions: Mapping[str, type[BaseModel]], into: Declarations) -> None:
    data = source.data
    if not isinstance(data, dict):
        if source.root is not None:
            into.problems.append(source.problem((), "", "must be a mapping", "a rulebook begins with `version: 1`"))
        return
    outline = {
        key: type(value)() if isinstance(value, dict | list) else value
        for key, value in data.items()
        if key not in ("hold", "limits")
    }
    _validated(RulebookForm, outline, source, (), into)
    for name, value in _mapping(data, "targets"):
        target = _validated(TargetForm, value, source, ("targets", name), into)
        _add_named(Declared(name, target, source, ("targets", name)), into.targets, into)
    for name, value in _mapping(data, "plans"):
        plan = _validated(PlanForm, value, source, ("plans", name), into)
        declared = Declared(name, plan, source, ("plans", name))
        _add_named(declared, into.plans, into)
        _declare_steps(declared, actions, into)
    rules = data.get("rules")
    for index, value in enumerate(rules if isinstance(rules, list) else ()):
        path: Path = ("rules", index)
        rule_name = value.get("name") if isinstance(value, dict) else None
        rule = _validated(RuleForm, value, source, path, into)
        into.rules.append(Declared(rule_name if isinstance(rule_name, str) else "", rule, source, path))
    for name, value in _mapping(data, "defaults"):
        shared = _validated(SeverityDefaultsForm, value, source, ("defaults", name), into)
        _add_defaults(Declared(name, shared, source, ("defaults", name)), into)
    freezes = data.get("freeze")
    for index, value in enumerate(freezes if isinstance(freezes, list) else ()):
        frozen = _validated(FreezeForm, value, source, ("freeze", index), into)
        into.freezes.append(Declared(str(index + 1), frozen, source, ("freeze", index)))
    if "hold" in data:
        held = _validated(HoldForm, data["hold"], source, ("hold",), into)
        into.holds.append(Declared("hold", held, source, ("hold",)))
    if "limits" in data:
        limited = _validated(LimitsForm, data["limits"], source, ("limits",), into)
        into.limits.append(Declared("limits", limited, source, ("limits",)))
    into.told = into.told or "notify" in data
    for index, value in _listed(data, "notify"):
        route = _filled(RouteForm, value, source, ("notify", index), into)
        into.routes.append(Declared(str(index + 1), route, source, ("notify", index)))
    for index, value in _listed(data, "escalation"):
        level = _filled(EscalationForm, value, source, ("escalation", index), into)
        into.levels.append(Declared(str(index + 1), level, source, ("escalation", index)))


def _add_defaults(declared: Declared[SeverityDefaultsForm], into: Declarations) -> None:
    name = declared.name
    if name not in set(Severity):
        into.problems.append(declared.problem((), f"`{name}` is no severity", f"write {listed(list(Severity))}", at_key=True))
    elif name in into.defaults:
        first = into.defaults[name].location
        into.problems.append(declared.problem((), "declared twice", f"first at {first}", at_key=True))
    else:
        into.defaults[name] = declared


def _share(declarations: Declarations) -> None:
    """Rules take from the defaults of their severity what they don't say themselves, as far as it goes with their response."""
    for index, rule in enumerate(declarations.rules):
        shared = declarations.defaults.get(rule.form.severity) if rule.form is not None else None
        if rule.form is None or shared is None or shared.form is None:
            continue
        given, own = shared.form, rule.form.model_fields_set
        respond = given.respond if "respond" not in own and given.respond is not None else rule.form.respond
        fitting = {"plan", "grace"} if respond is not Response.NOTIFY else set()
        fitting |= {"approve"} if respond is Response.APPROVE else set()
        taken = {key: getattr(given, key) for key in sorted(fitting - own) if getattr(given, key) is not None}
        if respond is not rule.form.respond:
            taken["respond"] = respond
        declarations.rules[index] = replace(rule, form=rule.form.model_copy(update=taken))


class _VariableForm(Form):
    """One entry of `vars`."""

    name: TemplateName
    value: Variable


def _declare_variables(source: Source, into: Declarations, first: dict[str, str]) -> None:
    data = source.data
    for name, value in _mapping(data, "vars") if isinstance(data, dict) else ():
        path: Path = ("vars", name)
        if name in first:
            hint = f"first at {first[name]}"
            into.problems.append(source.problem(path, where(source, path), "declared twice", hint, at_key=True))
            continue
        first[name] = f"{source.file}:{source.position(path, at_key=True)[0]}"
        try:
            into.variables[name] = _VariableForm(name=name, value=value).value
        except ValidationError as error:
            into.variables[name] = ""  # known all the same: what uses it is not wrong too
            for detail in error.errors(include_url=False):
                what, at_key = str(detail.get("ctx", {}).get("error", detail["msg"])), detail["loc"][:1] == ("name",)
                into.problems.append(source.problem(path, where(source, path), what, at_key=at_key))


def _mapping(data: Mapping[str, Any], section: str) -> Iterator[tuple[str, object]]:
    value = data.get(section)
    yield from value.items() if isinstance(value, dict) else ()


def _listed(data: Mapping[str, Any], section: str) -> Iterator[tuple[int, object]]:
    value = data.get(section)
    yield from enumerate(value) if isinstance(value, list) else ()


def _filled(model: type[FormT], value: object, source: Source, path: Path, into: Declarations) -> FormT | None:
    """Validated with its variables filled in; the name of one that is not declared is reported first."""
    unknown = list(unknown_in(value, into.variables))
    for at, name in unknown:
        hint = did_you_mean(name, into.variables) or "declare it under `vars:`"
        into.problems.append(source.problem((*path, *at), where(source, path), f"unknown variable `{name}`", hint))
    return None if unknown else _validated(model, fill_in(value, into.variables), source, path, into)


def _validated(model: type[FormT], value: object, source: Source, path: Path, into: Declarations) -> FormT | None:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        into.problems.extend(explain(error, model, source, path))
        return None


def _add_named(declared: Declared[FormT], known: dict[str, Declared[FormT]], into: Declarations) -> None:
    name = declared.name
    try:
        check_name(name)
    except ValueError as error:
        into.problems.append(declared.problem((), str(error), at_key=True))
    if name in known:
        into.problems.append(declared.problem((), "declared twice", f"first at {known[name].location}", at_key=True))
    else:
        known[name] = declared


_STEP_LISTS: tuple[Path, ...] = (("steps",), ("verify",), ("monitor", "checks"), ("on_failure",))
_NESTED = ("steps", "on_failure")


def _declare_steps(plan: Declared[PlanForm], actions: Mapping[str, type[BaseModel]], into: Declarations) -> None:
    for section in _STEP_LISTS:
        _declare_list(plan, section, actions, into)
    checkpoints = plan.source.value((*plan.path, "checkpoints"))
    for index in range(len(checkpoints) if isinstance(checkpoints, list) else 0):
        _declare_list(plan, ("checkpoints", index, "checks"), actions, into)


def _declare_list(
    plan: Declared[PlanForm], section: Path, actions: Mapping[str, type[BaseModel]], into: Declarations, *, nested: bool = False
) -> None:
    """Each step by itself: in a plan that is wrong elsewhere, the other steps are looked at all the same."""
    values = plan.source.value((*plan.path, *section))
    for index, value in enumerate(values if isinstance(values, list) else ()):
        path = (*section, index)
        try:
            form = StepForm.model_validate(value)
        except ValidationError as error:
            if nested:  # others are reported with their plan
                into.problems.extend(explain(error, StepForm, plan.source, (*plan.path, *path)))
        else:
            into.steps.append(DeclaredStep(plan, path, form, _parameters(plan, path, form, actions, into)))
        for key in _NESTED if isinstance(value, dict) else ():
            _declare_list(plan, (*path, key), actions, into, nested=True)


def _parameters(
    plan: Declared[PlanForm], path: Path, form: StepForm, actions: Mapping[str, type[BaseModel]], into: Declarations
) -> BaseModel | None:
    model = actions.get(form.uses)
    if model is None:
        at = (*path, "uses") if plan.reference(*path) is None else path
        into.problems.append(plan.problem(at, f"unknown action `{form.uses}`", did_you_mean(form.uses, actions)))
        return None
    unknown = list(unknown_in(form.parameters, into.variables))
    for at, name in unknown:
        hint = did_you_mean(name, into.variables) or "declare it under `vars:`"
        into.problems.append(plan.problem((*path, "with", *at), f"unknown variable `{name}`", hint))
    if unknown:
        return None
    try:
        return model.model_validate(fill_in(form.parameters, into.variables))
    except ValidationError as error:
        into.problems.extend(explain(error, model, plan.source, (*plan.path, *path, "with")))
        return None
