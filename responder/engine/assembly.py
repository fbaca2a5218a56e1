"""The engine, put together from its ports: who asks whom inside. What stands behind the ports is not known here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from responder.domain.decision import Decision
from responder.domain.incident import Incident, IncidentEvent
from responder.domain.rulebook import Rulebook
from responder.domain.target import Target
from responder.engine.admission import Admission
from responder.engine.announcer import Announcer
from responder.engine.approvals import Approvals
from responder.engine.audit import AuditLog
from responder.engine.blast_radius import BlastRadius
from responder.engine.brain import Brain
from responder.engine.checkpoints import CheckpointKeeper
from responder.engine.claims import Claims
from responder.engine.commands import Commands
from responder.engine.conductor import Conductor
from responder.engine.desk import IncidentDesk
from responder.engine.escalation import HOLD_OFF
from responder.engine.evaluator import Evaluator
from responder.engine.facts import FactFinder
from responder.engine.follow_up import FollowUp
from responder.engine.freezes import Freezes
from responder.engine.held_back import HeldBackRules
from responder.engine.last_look import LastLook
from responder.engine.notices import Notices
from responder.engine.orders import Orders
from responder.engine.preview import Previewer
from responder.engine.restraint import Restraint
from responder.engine.runner import StepRunner
from responder.engine.second_look import SecondLook
from responder.engine.turnstile import Turnstile
from responder.engine.watch import Pulse
from responder.ports import Action, AlertLists, Clock, Incidents, Journal, Ledger, Outbox, People, Workloads


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePorts:
    """What the engine is given, and whom it tells.

    rulebook: the one in force at the time of use. lists: None when no Alertmanager is asked a second time.
    configured: names of the notifiers that can be told; live: those of them that take changes of a message.
    secrets: values that must never be shown. hold_off: see `escalation.HOLD_OFF`.
    on_…: called after it happened; they must return at once.
    """

    journal: Journal
    incidents: Incidents
    outbox: Outbox
    ledger: Ledger
    people: People
    workloads: Workloads
    actions: Mapping[str, Action]
    rulebook: Callable[[], Rulebook]
    configured: Collection[str]
    clock: Clock
    new_id: Callable[[datetime], str]
    lists: AlertLists | None = None
    live: Collection[str] = ()
    secrets: Sequence[str] = ()
    link_to: Callable[[str], str] = lambda _: ""
    hold_off: timedelta = HOLD_OFF
    on_outbox: Callable[[], None] = lambda: None
    on_changed: Callable[[Incident, Sequence[IncidentEvent]], None] = lambda _incident, _events: None
    on_closed: Callable[[Incident], None] = lambda _: None
    on_decision: Callable[[Decision], None] = lambda _: None
    on_recalled: Callable[[Decision], None] = lambda _: None
    on_folded: Callable[[timedelta], None] = lambda _: None

    def targets(self) -> Mapping[str, Target]:
        """Those declared now."""
        return self.rulebook().targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The parts that others use. brain, checkpoints and follow_up have a `run` of their own each."""

    brain: Brain
    desk: IncidentDesk
    facts: FactFinder
    restraint: Restraint
    claims: Claims
    checkpoints: CheckpointKeeper
    follow_up: FollowUp
    notices: Notices
    commands: Commands
    orders: Orders
    previewer: Previewer
    held_back: HeldBackRules


def build_engine(ports: EnginePorts) -> Engine:
    """Start nothing. Who is used before it is made (brain, checkpoints, follow_up, restraint) is looked up at the time of use."""
    pulse, claims, turnstile = Pulse(), Claims(), Turnstile()
    restraint = Restraint(ports.people, Freezes(ports.rulebook))
    second_look = _second_look(ports, lambda: brain.evaluator)
    brain = Brain(
        evaluator=Evaluator(ports.rulebook()),
        digest=ports.rulebook().digest,
        journal=ports.journal,
        incidents=ports.incidents,
        pulse=pulse,
        clock=ports.clock,
        on_decision=ports.on_decision,
        on_folded=ports.on_folded,
        on_recalled=ports.on_recalled,
        vouched=second_look.vouched if second_look else None,
    )

    def changed(incident: Incident, events: Sequence[IncidentEvent]) -> None:
        ports.on_changed(incident, events)
        follow_up.note(incident)

    def closed(incident: Incident) -> None:
        ports.on_closed(incident)
        checkpoints.note(incident)

    announcer = Announcer(
        rulebook=ports.rulebook,
        clock=ports.clock,
        configured=ports.configured,
        live=ports.live,
        link_to=ports.link_to,
        hold=lambda: restraint.hold,
    )
    desk = IncidentDesk(
        incidents=ports.incidents,
        rulebook=ports.rulebook,
        clock=ports.clock,
        new_id=ports.new_id,
        announcer=announcer,
        on_outbox=ports.on_outbox,
        on_closed=closed,
        on_changed=changed,
    )
    radius = BlastRadius(ports.ledger, ports.clock, lambda: ports.rulebook().limits)
    facts = FactFinder(
        ports.workloads,
        ports.ledger,
        ports.incidents,
        ports.clock,
        second_look.before_acting if second_look else None,
        radius=radius,
        looked_at=lambda: restraint.lifted_at,
    )
    approvals = Approvals(desk=desk, pulse=pulse, clock=ports.clock)
    look = LastLook(
        facts=facts,
        targets=ports.targets,
        still_firing=brain.still_firing,
        clock=ports.clock,
        hold=lambda: restraint.hold,
        radius=radius,
    )
    runner = StepRunner(
        desk=desk,
        actions=ports.actions,
        workloads=ports.workloads,
        ledger=ports.ledger,
        targets=ports.targets,
        look=look,
        ask=approvals.ask_for_step,
        hold=lambda: restraint.hold,
        note=brain.note_rollback,
        clock=ports.clock,
        secrets=ports.secrets,
        on_change=turnstile.leave,
    )
    admission = Admission(
        desk=desk,
        facts=facts,
        approvals=approvals,
        restraint=restraint,
        claims=claims,
        turnstile=turnstile,
        targets=ports.targets,
        still_firing=brain.still_firing,
        has_cleared=brain.has_cleared,
        clock=ports.clock,
    )
    conductor = Conductor(
        desk=desk,
        runner=runner,
        admission=admission,
        claims=claims,
        turnstile=turnstile,
        has_cleared=brain.has_cleared,
        pulse=pulse,
        clock=ports.clock,
        goes_on=second_look.goes_on if second_look else None,
    )
    brain.employ(desk, conductor, restraint)
    checkpoints = CheckpointKeeper(desk=desk, incidents=ports.incidents, runner=runner, clock=ports.clock)
    follow_up = FollowUp(
        desk=desk,
        incidents=ports.incidents,
        rulebook=ports.rulebook,
        configured=ports.configured,
        has_cleared=brain.has_cleared,
        pulse=pulse,
        clock=ports.clock,
        hold_off=ports.hold_off,
    )
    notices = Notices(
        outbox=ports.outbox,
        rulebook=ports.rulebook,
        configured=ports.configured,
        new_id=ports.new_id,
        clock=ports.clock,
        on_outbox=ports.on_outbox,
    )
    audit = AuditLog(ports.people, ports.clock)
    orders = Orders(
        desk=desk,
        incidents=ports.incidents,
        brain=brain,
        admission=admission,
        restraint=restraint,
        audit=audit,
        rulebook=ports.rulebook,
        clock=ports.clock,
    )
    return Engine(
        brain=brain,
        desk=desk,
        facts=facts,
        restraint=restraint,
        claims=claims,
        checkpoints=checkpoints,
        follow_up=follow_up,
        notices=notices,
        commands=Commands(
            desk=desk, brain=brain, restraint=restraint, audit=audit, pulse=pulse, clock=ports.clock, notices=notices
        ),
        orders=orders,
        previewer=Previewer(orders=orders, runner=runner, clock=ports.clock),
        held_back=HeldBackRules(
            evaluator=lambda: brain.evaluator,
            rulebook=ports.rulebook,
            desk=desk,
            restraint=restraint,
            clock=ports.clock,
            lists=ports.lists,
        ),
    )


def _second_look(ports: EnginePorts, evaluator: Callable[[], Evaluator]) -> SecondLook | None:
    if ports.lists is None:
        return None
    return SecondLook(ports.lists, evaluator=evaluator, rulebook=ports.rulebook, clock=ports.clock)
