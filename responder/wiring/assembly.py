"""Who gets what: the engine its ports, the web the engine, and each what it must tell of."""

from __future__ import annotations

import gc
import secrets
import socket
from collections.abc import Collection, Mapping
from datetime import timedelta

from responder.actions.registry import PARAMETERS
from responder.domain.decision import Decision, DecisionKind
from responder.domain.rulebook import Rulebook
from responder.engine.assembly import EnginePorts, build_engine
from responder.engine.decision_log import DecisionLog
from responder.engine.feed import Feed
from responder.engine.follow_up import FollowUp
from responder.engine.ledger_keeper import LedgerKeeper
from responder.engine.outbox import DeliveryOutcome, OutboxWorker
from responder.engine.readings import Reader
from responder.engine.reload import Reloader, RulebookInForce
from responder.notifiers.registry import build_notifiers
from responder.notifiers.slack_bot import SlackBot
from responder.rulebook.loader import load_rulebook
from responder.stores.database import Database
from responder.telemetry import Metrics
from responder.web.app import build_app
from responder.web.listener import url_of
from responder.web.people_file import PeopleFile
from responder.web.rules import reload_document
from responder.web.server import server_config
from responder.wiring.clock import new_incident_id, wall_clock
from responder.wiring.missing import warn_about_notifiers, warn_about_prometheus
from responder.wiring.outside import Outside
from responder.wiring.service import Server, Service
from responder.wiring.tasks import Tasks
from responder.wiring.upkeep import Upkeep
from responder.wiring.web import tokens_of, web_services


class Assembly:
    """Puts one service together. Held here is what several of its parts share."""

    def __init__(self, outside: Outside, rulebook: Rulebook, database: Database, metrics: Metrics) -> None:
        self._outside = outside
        self._settings = outside.settings
        self._in_force = RulebookInForce(rulebook)
        self._log = DecisionLog()
        self._database = database
        self._metrics = metrics
        self._tokens = tokens_of(self._settings)
        self._people_file = PeopleFile(self._settings.tokens_file, self._tokens) if self._settings.tokens_file else None
        self._decisions = {kind: metrics.decisions.labels(kind.value) for kind in DecisionKind}

    def build(self, listener: socket.socket, started: float) -> Tasks:
        """Start nothing. started: when the process began to start, by `time.monotonic`."""
        settings, database, metrics = self._settings, self._database, self._metrics
        notifiers = build_notifiers(settings, self._outside.http)
        self._warn(self._in_force.rulebook, notifiers)
        outbox = OutboxWorker(database.outbox, notifiers, wall_clock, on_outcome=self._count_delivery)
        prometheus = self._outside.prometheus()
        reader = Reader(
            wanted=lambda: engine.brain.evaluator.wanted,
            prometheus=prometheus,
            journal=database.journal,
            clock=wall_clock,
            on_read=lambda told: metrics.readings.labels("none" if told.number is None else "number").inc(),
        )
        feed = Feed(secrets.token_hex(4))
        ports = EnginePorts(
            journal=database.journal,
            incidents=database.incidents,
            outbox=database.outbox,
            ledger=database.ledger,
            people=database.people,
            workloads=self._outside.workloads(),
            actions=self._outside.actions(prometheus),
            rulebook=lambda: self._in_force.rulebook,
            configured=notifiers.keys(),
            clock=wall_clock,
            new_id=new_incident_id,
            lists=self._outside.alert_lists(),
            live={name for name, one in notifiers.items() if isinstance(one, SlackBot)},
            secrets=settings.secrets(),
            link_to=self._link_to,
            on_outbox=outbox.wake,
            on_changed=feed.note,
            on_closed=lambda incident: metrics.rollback_runs.labels(incident.status.value).inc(),
            on_decision=self._note,
            on_recalled=self._log.note,
            on_folded=lambda lag: self._folded(lag, reader),
        )
        engine = build_engine(ports)
        keeper = LedgerKeeper(ports.workloads, database.ledger, wall_clock)
        metrics.held.set_function(lambda: engine.restraint.hold.held)
        metrics.targets_unseen.set_function(lambda: len(ports.targets().keys() - keeper.last_seen().keys()))
        reloader = Reloader(
            notices=engine.notices,
            load=lambda: load_rulebook(settings.rules, PARAMETERS),
            in_force=self._in_force,
            brain=engine.brain,
            on_changed=lambda rulebook: self._changed(rulebook, keeper, notifiers, engine.follow_up),
            on_outcome=metrics.rulebook_reload_ok.set,
        )
        services = web_services(
            settings,
            ports,
            engine,
            database=database,
            http=self._outside.http,
            tokens=self._tokens,
            metrics=metrics,
            decisions=self._log,
            feed=feed,
            watched=keeper.last_seen,
            reload=lambda: self._reload(reloader),
        )
        return Tasks(
            service=Service(
                url=url_of(listener),
                reloader=reloader,
                database=database,
                brain=engine.brain,
                desk=engine.desk,
                server=Server(server_config(build_app(services), host=settings.host, port=settings.port)),
                feed=feed,
                cluster=self._outside.cluster,
            ),
            engine=engine,
            reader=reader,
            outbox=outbox,
            keeper=keeper,
            upkeep=Upkeep(
                settings,
                database,
                engine.brain,
                metrics,
                people_file=self._people_file,
                held_back=engine.held_back,
                promises=services.slack.promises,
            ),
            started=started,
        )

    def _warn(self, rulebook: Rulebook, notifiers: Collection[str]) -> None:
        warn_about_notifiers(rulebook, notifiers)
        warn_about_prometheus(rulebook, self._settings)

    def _folded(self, lag: timedelta, reader: Reader) -> None:
        self._metrics.evaluation_lag.set(lag.total_seconds())
        reader.look()

    def _note(self, decision: Decision) -> None:
        self._decisions[decision.kind].inc()
        self._log.note(decision)

    def _changed(self, rulebook: Rulebook, keeper: LedgerKeeper, notifiers: Collection[str], follow_up: FollowUp) -> None:
        """Another rulebook comes into force: for those who can't just look."""
        gc.unfreeze()  # what was frozen after the start holds the old state, which may go now
        keeper.follow(rulebook.targets)
        follow_up.look()
        self._log.keep_only({rule.name for rule in rulebook.rules})
        self._warn(rulebook, notifiers)

    async def _reload(self, reloader: Reloader) -> Mapping[str, object]:
        """Rulebook and tokens file. Raises RulebookError, JournalUnavailableError or SettingsError."""
        document = await reload_document(reloader)
        if self._people_file is not None:
            self._people_file.read()
        return document

    def _link_to(self, incident_id: str) -> str:
        base = self._settings.public_url
        return f"{base}/v1/incidents/{incident_id}/report?format=html" if base else ""

    def _count_delivery(self, to: str, outcome: DeliveryOutcome) -> None:
        if outcome is DeliveryOutcome.DELIVERED:
            self._metrics.outbox_delivered.labels(to).inc()
        else:
            self._metrics.outbox_failed.labels(to).inc()
