"""Checks of the steps of plans, by themselves and as they will run once nested steps and included plans are in their places."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from responder.clients.templates import named_inputs
from responder.domain.plan import PARALLEL, ROLLBACKS
from responder.domain.wording import did_you_mean
from responder.rulebook.convert_plan import destroys, only_looks
from responder.rulebook.declarations import Declarations, DeclaredStep
from responder.rulebook.plan_form import INCLUDE
from responder.rulebook.problem import Problem
from responder.rulebook.step_tree import Node, Section, Tree, grow


@dataclass(frozen=True, slots=True)
class StepCheck:
    declarations: Declarations
    names_known: bool = True

    def problems(self) -> Iterator[Problem]:
        for step in self.declarations.steps:
            yield from _shape(step)
            yield from _loss(step)
        trees, problems = grow(self.declarations, names_known=self.names_known)
        yield from problems
        for tree in trees.values():
            yield from _names(tree)
            yield from _places(tree)
            yield from _needs(tree)
            yield from _inputs(tree)
            yield from _checkpoints(tree)


def _shape(step: DeclaredStep) -> Iterator[Problem]:
    """Keys that don't go together."""
    given, uses = step.form.model_fields_set, step.form.uses
    if uses == PARALLEL and "steps" not in given:
        yield step.plan.problem(step.path, "`steps` is missing", "list what runs side by side")
    if uses != PARALLEL and "steps" in given:
        yield step.plan.problem((*step.path, "steps"), "`steps` belongs to `uses: parallel`", at_key=True)
    if uses in (PARALLEL, INCLUDE) and "retry" in given:
        yield step.plan.problem((*step.path, "retry"), f"`{uses}` is not tried again", "give its steps a `retry`", at_key=True)
    if step.path[0] in ("monitor", "checkpoints"):
        if uses == PARALLEL:
            yield step.plan.problem((*step.path, "uses"), "checks run one after another", "list them without `parallel`")
        if "needs" in given:
            yield step.plan.problem((*step.path, "needs"), "checks need nothing to have run", "remove it", at_key=True)
        if isinstance(step.form.on_failure, tuple):
            hint = "what is done when they fail, the plan's `on_failure` says"
            yield step.plan.problem((*step.path, "on_failure"), "checks have no steps of their own", hint, at_key=True)


def _loss(step: DeclaredStep) -> Iterator[Problem]:
    """Data is destroyed only after a backup of this run, or where somebody took the responsibility in writing."""
    if not destroys(step.parameters):
        if step.form.destroys_without_backup and step.parameters is not None:
            at = (*step.path, "destroys_without_backup")
            yield step.plan.problem(at, f"`{step.form.uses}` destroys nothing here", "remove it", at_key=True)
    elif not step.form.needs and not step.form.destroys_without_backup:
        hint = "name its backup step under `needs:`, or write `destroys_without_backup: true`"
        yield step.plan.problem((*step.path, "uses"), "destroys data, but needs no backup", hint)


def _names(tree: Tree) -> Iterator[Problem]:
    first: dict[tuple[Section, str], Node] = {}
    for section, node in tree.walk():
        name = node.step.form.name
        if name is None:
            continue
        other = first.setdefault((_scope(section), name), node)
        if other is node or (node.via and other.via and node.via[0] is other.via[0]):
            continue  # the included plan is told about its own
        what, hint = f"step name `{name}` is used twice", "names are unique in a plan"
        if not node.via and not other.via:
            line, _ = node.step.plan.source.position((*node.step.plan.path, *other.step.path, "name"))
            yield node.step.plan.problem((*node.step.path, "name"), what, f"first on line {line}; {hint}")
        else:
            places = " and ".join(f"in plan `{one.step.plan.name}`" for one in (other, node))
            yield _problem(node if node.via else other, "name", f"{what}: {places}", f"{hint}, included ones counted")


def _scope(section: Section) -> Section:
    """Where a name must be unique. Checks of the watch and checkpoints leave no records: they may be those of `verify` again."""
    return section if section[0] in ("monitor", "checkpoints") else ()


def _places(tree: Tree) -> Iterator[Problem]:
    for section, node in tree.walk():
        if node.step.form.uses in ROLLBACKS and section[0] != "steps":
            hint = "put it under `steps`: there the guards are asked, and there is never a second step back"
            yield _problem(node, "uses", f"no rollback under `{section[0]}`", hint)
        elif section[0] in ("verify", "monitor", "checkpoints") and destroys(node.step.parameters):
            yield _problem(node, "uses", f"nothing that destroys data under `{section[0]}`", "put it under `steps`")
        elif section[0] in ("monitor", "checkpoints") and not only_looks(node.step.parameters):
            uses = node.step.form.uses
            what = f"`{uses}` may change something, and checks under `{section[0]}` must not"
            yield _problem(node, "uses", what, _CHECKS.get(uses, _ANY_CHECK))


_CHECKS = {
    "command.run": "use `command.check` if it only looks, else put it under `steps`",
    "http.request": "use `http.check` if it only looks, else put it under `steps`",
    "kubernetes.exec": "say `changes: false` if it only looks, else put it under `steps`",
}
_LOOKING = "`command.check`, `http.check`, `prometheus.check`, `kubernetes.wait` and `kubernetes.logs` only look"
_ANY_CHECK = f"put it under `steps`; {_LOOKING}"


def _needs(tree: Tree) -> Iterator[Problem]:
    """Each name is that of a step that has ended when this one begins."""
    nodes = [(section, node) for section, node in tree.walk()]
    named: dict[str | None, int] = {}
    for index, (_, node) in sorted(enumerate(nodes), key=lambda one: _scope(one[1][0]) != ()):
        named.setdefault(node.step.form.name, index)
    named.pop(None, None)
    for index, (section, node) in enumerate(nodes):
        for place, name in enumerate(node.step.form.needs) if not node.via else ():
            at = ("needs", place) if isinstance(node.step.plan.source.value(_whole(node, "needs")), list) else ("needs",)
            other = named.get(name)
            if other is None:
                hint = did_you_mean(name, [each for each in named if each]) or "give the step it needs a `name`"
                yield node.step.plan.problem((*node.step.path, *at), f"unknown step `{name}`", hint)
            elif nodes[other][0][0] != "steps" or (section[0] == "steps" and not _is_before(nodes[other][1], other, node, index)):
                hint = "it names steps of `steps` that come before"
                yield node.step.plan.problem((*node.step.path, *at), f"step `{name}` has not ended when this one begins", hint)


def _is_before(other: Node, its: int, node: Node, mine: int) -> bool:
    if its >= mine or other in node.above:
        return False
    shared = [one for one in node.above if one in other.above]
    # Side by side: neither comes before the other. What rescues the whole group comes after both.
    if not shared or shared[-1].step.form.uses != PARALLEL:
        return True
    branches = shared[-1].inner
    return not (_is_within(node, branches) and _is_within(other, branches))


def _is_within(node: Node, branches: list[Node]) -> bool:
    return any(node is branch or branch in node.above for branch in branches)


def _inputs(tree: Tree) -> Iterator[Problem]:
    """Templates may name the inputs of their plan, and no others."""
    for _, node in tree.walk():
        if node.via:
            continue  # told with its own plan
        step = node.step
        texts = [(("with", *path), text, False) for path, text in _texts(step.form.parameters)]
        if step.form.condition:
            texts.append((("if",), step.form.condition, True))
        for path, text, condition in texts:
            with contextlib.suppress(ValueError):  # no template, or a wrong one: that is told elsewhere
                for name in sorted(named_inputs(text, condition=condition) - tree.inputs.keys()):
                    hint = did_you_mean(name, tree.inputs) or "declare it under the plan's `inputs:`"
                    yield step.plan.problem((*step.path, *path), f"unknown input `{name}`", hint)


def _texts(value: object, path: Section = ()) -> Iterator[tuple[Section, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))


def _checkpoints(tree: Tree) -> Iterator[Problem]:
    first: set[str] = set()
    for index, checkpoint in enumerate(tree.plan.form.checkpoints if tree.plan.form is not None else ()):
        if checkpoint.name in first:
            yield tree.plan.problem(("checkpoints", index, "name"), f"checkpoint name `{checkpoint.name}` is used twice")
        first.add(checkpoint.name)


def _whole(node: Node, key: str) -> Section:
    return (*node.step.plan.path, *node.step.path, key)


def _problem(node: Node, key: str, what: str, hint: str) -> Problem:
    """At the step's own key; for what came from another plan, where this one includes it."""
    if not node.via:
        return node.step.plan.problem((*node.step.path, key), what, hint)
    include = node.via[0]
    text = f"{what} (step `{node.name}` of plan `{node.step.plan.name}`)" if "plan `" not in what else what
    return include.plan.problem((*include.path, "with", "plan"), text, hint)
