"""Rollbacks that a person orders: checked and judged while they wait for the answer, then led like any other incident."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from responder.domain.guard import Verdict
from responder.domain.incident import FORCED, Incident, IncidentStatus, Order
from responder.domain.notification import Moment
from responder.domain.ordered import NEVER_OVERRIDDEN, overridable
from responder.domain.people import Actor
from responder.domain.plan import BARE_ROLLBACK, Plan, Step, missing_inputs
from responder.domain.rulebook import Rulebook, Severity
from responder.domain.version import Pin
from responder.domain.wording import undeclared
from responder.engine.admission import Admission, Judgement, rolled_back_by
from responder.engine.announcer import Tell
from responder.engine.audit import AuditLog
from responder.engine.brain import Brain
from responder.engine.desk import IncidentDesk
from responder.engine.restraint import Restraint
from responder.engine.scope import check_scope, targets_of
from responder.errors import InvalidInputError, JournalUnavailableError, NotFoundError, RefusedError
from responder.ports import Clock, Incidents, OpenResult

STARTS_WITHIN = timedelta(seconds=5)
"""How long an order waits for the end of the start before it is put off."""


class BusyError(RefusedError):
    """Another incident has the target."""

    def __init__(self, incident: Incident) -> None:
        state = incident.status.value.replace("_", " ")
        super().__init__(f"incident {incident.id} has {incident.target} in hand ({state}); cancel it, or wait for its end")
        self.incident = incident


class GuardsError(RefusedError):
    """Guards refuse. may_override: names of those that the order may override."""

    def __init__(self, reasons: Sequence[str], verdicts: Mapping[str, Sequence[Verdict]], may_override: Sequence[str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons)))
        self.verdicts = verdicts
        self.may_override = tuple(may_override)


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """What was asked for. plan: "" for a bare rollback. order: by and reason included."""

    target: str
    order: Order
    plan: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preview:
    """What would happen. refusals: why nothing would, () when it would be done. observed: nothing is done in any case."""

    request: RollbackRequest
    plan: Plan
    verdicts: Mapping[str, Sequence[Verdict]]
    pins: Mapping[str, Pin]
    refusals: tuple[str, ...]
    may_override: tuple[str, ...]
    observed: bool

    def verified(self) -> Sequence[Step]:
        return () if self.request.order.skip_validation else self.plan.verify


class Orders:
    """rulebook: the one in force, looked up at the time of use."""

    def __init__(
        self,
        *,
        desk: IncidentDesk,
        incidents: Incidents,
        brain: Brain,
        admission: Admission,
        restraint: Restraint,
        audit: AuditLog,
        rulebook: Callable[[], Rulebook],
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._incidents = incidents
        self._brain = brain
        self._admission = admission
        self._restraint = restraint
        self._audit = audit
        self._rulebook = rulebook
        self._clock = clock

    async def force(self, request: RollbackRequest, actor: Actor, key: str = "") -> Incident:
        """Begin it. key: the same key by the same person is the same order.

        Raises NotFoundError or InvalidInputError (naming the field), BusyError, GuardsError, or RefusedError for a hold.
        """
        what = _describe(request)
        return await self._audit.noting(actor, "rollback", request.target, what, lambda: self._force(request, actor, key))

    async def preview(self, request: RollbackRequest) -> Preview:
        """What `force` would do now. Nothing is changed. Raises NotFoundError or InvalidInputError."""
        draft = self._draft(request, "")
        judgement = await self._admission.judge(draft, claim=False)
        _check_override(request.order, judgement)
        refusals = list(judgement.refusals)
        if (busy := await self._holder(request.target)) is not None:
            refusals.append(str(BusyError(busy)))
        if self._restraint.hold.held:
            refusals.append(str(self._restraint.hold))
        may_override = _may_override(judgement)
        plan = draft.plan or BARE_ROLLBACK
        return Preview(
            request, plan, judgement.verdicts, judgement.pins, tuple(dict.fromkeys(refusals)), may_override, judgement.observed
        )

    async def _force(self, request: RollbackRequest, actor: Actor, key: str) -> Incident:
        draft = self._draft(request, key)
        check_scope(actor, targets_of(draft.plan, request.target))
        if not await self._brain.is_started(STARTS_WITHIN):
            raise JournalUnavailableError("the service is still starting", retry_after=STARTS_WITHIN)
        if key and (known := await self._incidents.find(draft.identity)) is not None:
            return known
        if self._restraint.hold.held:
            raise RefusedError(str(self._restraint.hold))
        if (busy := await self._holder(request.target)) is not None:
            raise BusyError(busy)
        judgement = await self._admission.judge(draft, claim=False)
        _check_override(request.order, judgement)
        if judgement.refusals and not judgement.observed:
            raise GuardsError(judgement.refusals, judgement.verdicts, _may_override(judgement))
        event = self._desk.event("ordered", _describe(request), override=list(request.order.override))
        result, incident = await self._desk.open(draft, [event], [Tell(Moment.OPENED, f"{_describe(request)}.")])
        if result is OpenResult.BUSY:
            raise BusyError(incident)
        self._brain.lead(incident)
        return incident

    def _draft(self, request: RollbackRequest, key: str) -> Incident:
        """The incident as it would be opened. Raises NotFoundError or InvalidInputError."""
        rulebook = self._rulebook()
        if request.target not in rulebook.targets:
            raise NotFoundError(undeclared("target", request.target, rulebook.targets), field="target")
        if request.plan and request.plan not in rulebook.plans:
            raise InvalidInputError(undeclared("plan", request.plan, rulebook.plans), field="plan")
        plan = rulebook.plans[request.plan] if request.plan else BARE_ROLLBACK
        if problems := missing_inputs(plan, request.inputs):
            raise InvalidInputError("; ".join(problems), field="inputs")
        if problem := _version_for_nothing(request, plan):
            raise InvalidInputError(problem, field="version" if request.order.version else "revision")
        never = [name for name in request.order.override if name in NEVER_OVERRIDDEN]
        if never:
            raise InvalidInputError(f"nobody can override {', '.join(never)}", field="override")
        now = self._clock()
        incident_id = self._desk.new_id(now)
        return Incident(
            id=incident_id,
            identity=f"{FORCED}|{request.order.by}|{key or incident_id}",
            target=request.target,
            workload=rulebook.targets[request.target].key,
            rule=FORCED,
            group="",
            severity=Severity.P2,
            status=IncidentStatus.RUNNING,
            reason=_describe(request),
            opened_at=now,
            plan=plan,
            inputs=dict(request.inputs),
            order=request.order,
        )

    async def _holder(self, target: str) -> Incident | None:
        found = await self._incidents.list(target=target, open_only=True, limit=1)
        return found[0] if found else None


def _check_override(order: Order, judgement: Judgement) -> None:
    """A name that no guard has is a slip of the pen, and what was meant would be refused."""
    known = {verdict.guard for verdicts in judgement.verdicts.values() for verdict in verdicts}
    unknown = [name for name in order.override if name not in known | {"proven"}]
    if unknown and known and known != {"readable"}:
        raise InvalidInputError(
            f"no guard is called {', '.join(unknown)}; there are {', '.join(sorted(known))}", field="override"
        )


def _may_override(judgement: Judgement) -> tuple[str, ...]:
    names = [name for verdicts in judgement.verdicts.values() for name in overridable(verdicts)]
    return tuple(dict.fromkeys(names))


def _version_for_nothing(request: RollbackRequest, plan: Plan) -> str:
    """An ordered version is that of the order's own target; a plan that leaves this one alone would silently ignore it."""
    rolled_back = rolled_back_by(plan, request.target)
    if request.target in rolled_back or not (request.order.version or request.order.revision):
        return ""
    what = f"rolls back {' and '.join(rolled_back)} only" if rolled_back else "rolls nothing back"
    return f"the plan {plan.name} {what}: a version of {request.target} would be ignored"


def _describe(request: RollbackRequest) -> str:
    order = request.order
    to = f" to {order.version or f'revision {order.revision}'}" if order.version or order.revision else ""
    by = f" by the plan {request.plan}" if request.plan else ""
    ways = (
        ("at once", order.immediate),
        ("without verification", order.skip_validation),
        ("after a backup", order.create_backup),
        (f"overriding {', '.join(order.override)}", bool(order.override)),
    )
    how = "".join(f", {words}" for words, wanted in ways if wanted)
    return f"{order.by} ordered the rollback of {request.target}{to}{by}{how}: {order.reason}"
