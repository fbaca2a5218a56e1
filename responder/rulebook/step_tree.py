"""The steps of each plan as they will run: nested ones in their places, included plans written out, everything named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from responder.domain.wording import did_you_mean
from responder.rulebook.declarations import Declarations, Declared, DeclaredStep
from responder.rulebook.plan_form import IncludeForm, InputForm, PlanForm
from responder.rulebook.problem import Problem

Section = tuple[str | int, ...]
MOST_STEPS = 1000  # of one plan, once its includes are followed


@dataclass(slots=True, eq=False)
class Node:
    """via: the include steps it came through, outermost first; () for the plan's own. above: what it stands in."""

    step: DeclaredStep
    via: tuple[DeclaredStep, ...] = ()
    above: tuple[Node, ...] = ()
    name: str = ""
    inner: list[Node] = field(default_factory=list)
    rescue: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        yield self
        for node in (*self.inner, *self.rescue):
            yield from node.walk()

    @property
    def included(self) -> str | None:
        """Name of the plan that this step includes; None when it is no include, or a wrong one."""
        return self.step.parameters.plan if isinstance(self.step.parameters, IncludeForm) else None


@dataclass(slots=True)
class Tree:
    """One plan. sections: top-level nodes by where they stand, such as ("steps",) or ("checkpoints", 0, "checks")."""

    plan: Declared[PlanForm]
    sections: dict[Section, list[Node]] = field(default_factory=dict)
    inputs: dict[str, InputForm] = field(default_factory=dict)

    def walk(self) -> Iterator[tuple[Section, Node]]:
        for section, nodes in self.sections.items():
            for node in nodes:
                yield from ((section, inner) for inner in node.walk())


def grow(declarations: Declarations, *, names_known: bool = True) -> tuple[dict[str, Tree], list[Problem]]:
    """names_known: False when a file could not be read, so that an included plan may stand there."""
    grower = _Grower(declarations, names_known)
    trees = {name: grower.tree(plan) for name, plan in declarations.plans.items()}
    return trees, grower.problems


class _Grower:
    def __init__(self, declarations: Declarations, names_known: bool) -> None:
        self._plans = declarations.plans
        self._names_known = names_known
        self._children: dict[tuple[int, Section], list[DeclaredStep]] = defaultdict(list)
        self.problems: list[Problem] = []
        self._count = 0
        for step in declarations.steps:
            self._children[id(step.plan), step.path[:-1]].append(step)

    def tree(self, plan: Declared[PlanForm]) -> Tree:
        self._count = 0
        tree = Tree(plan)
        for owner, section in list(self._children):
            if owner == id(plan) and _is_top(section):
                tree.sections[section] = self._nodes(plan, section, (), ())
        if self._count > MOST_STEPS:
            self.problems.append(plan.problem((), f"more than {MOST_STEPS} steps once its includes are followed", at_key=True))
        _give_names([node for _, node in tree.walk()])
        tree.inputs = self._inputs(plan, tree)
        return tree

    def _nodes(
        self, plan: Declared[PlanForm], section: Section, via: tuple[DeclaredStep, ...], above: tuple[Node, ...]
    ) -> list[Node]:
        nodes = []
        for step in self._children.get((id(plan), section), ()):
            self._count += 1
            if self._count > MOST_STEPS:
                break
            node = Node(step, via, above)
            inside = (*above, node)
            node.inner = self._nodes(plan, (*step.path, "steps"), via, inside)
            if node.included is not None:
                node.inner = self._included(node, node.included, inside)
            node.rescue = self._nodes(plan, (*step.path, "on_failure"), via, inside)
            nodes.append(node)
        return nodes

    def _included(self, node: Node, name: str, inside: tuple[Node, ...]) -> list[Node]:
        step = node.step
        other = self._plans.get(name)
        at = _at_plan(step)
        if other is None:
            if self._names_known and not node.via:
                self.problems.append(step.plan.problem(at, f"unknown plan `{name}`", did_you_mean(name, self._plans)))
            return []
        way = [*(one.plan for one in node.via), step.plan]
        if any(one is other for one in way):
            if way[0] is other:  # told once for each plan of the circle
                first = (*node.via, step)[0]
                circle = " → ".join([*(one.name for one in way), name])
                self.problems.append(first.plan.problem(_at_plan(first), f"plan `{name}` includes itself", circle))
            return []
        return self._nodes(other, ("steps",), (*node.via, step), inside)

    def _inputs(self, plan: Declared[PlanForm], tree: Tree) -> dict[str, InputForm]:
        """Those of included plans are the plan's too; what it says itself comes first."""
        inputs: dict[str, InputForm] = {}
        included = [self._plans.get(node.included) for _, node in tree.walk() if node.included is not None]
        for one in (plan, *included):
            if one is not None and one.form is not None:
                inputs = {**one.form.inputs, **inputs}
        return inputs


def _is_top(section: Section) -> bool:
    return section in (("steps",), ("verify",), ("monitor", "checks"), ("on_failure",)) or section[0] == "checkpoints"


def _at_plan(step: DeclaredStep) -> Section:
    """Where an include names its plan, in its long form or its short one."""
    return (*step.path, "with", "plan") if isinstance(step.form.parameters.get("plan"), str) else step.path


def _give_names(nodes: list[Node]) -> None:
    """Given names as they are; the others are named after their action: `http.check`, `http.check-2`, …"""
    taken = {node.step.form.name for node in nodes}
    for node in nodes:
        given = node.step.form.name
        base = given or node.included or node.step.form.uses
        name, number = base, 2
        while given is None and name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        node.name = name
