"""The one place where concrete classes meet, and the only one that knows the clock."""

from __future__ import annotations

import asyncio
import gc
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain

import httpx
import structlog
import uvicorn
from pydantic import SecretStr

from responder.actions.registry import PARAMETERS, build_actions
from responder.clients.alertmanager import AlertmanagerClient
from responder.clients.argocd import ArgoCdClient
from responder.clients.http import new_client
from responder.clients.kubernetes import KubernetesClient
from responder.clients.programs import Programs
from responder.clients.prometheus import NoPrometheus, PrometheusClient
from responder.clients.ssh import SshOptions
from responder.domain.decision import Decision, DecisionKind
from responder.domain.incident import Incident, IncidentEvent
from responder.domain.prometheus_users import prometheus_users
from responder.domain.report import render_report, report_document
from responder.domain.rulebook import DEFAULT_ROUTES, Rulebook
from responder.domain.target import HelmRef, Target, WorkloadRef
from responder.domain.version import WorkloadState
from responder.engine.admission import Admission
from responder.engine.approvals import Approvals
from responder.engine.blast_radius import BlastRadius
from responder.engine.brain import Brain
from responder.engine.checkpoints import CheckpointKeeper
from responder.engine.claims import Claims
from responder.engine.commands import AuditLog, Commands
from responder.engine.conductor import Conductor
from responder.engine.decision_log import DecisionLog
from responder.engine.desk import IncidentDesk
from responder.engine.evaluator import Evaluator
from responder.engine.facts import FactFinder
from responder.engine.feed import Feed
from responder.engine.follow_up import FollowUp
from responder.engine.freezes import Freezes
from responder.engine.guard_view import GuardView
from responder.engine.last_look import LastLook
from responder.engine.ledger_keeper import LedgerKeeper
from responder.engine.notices import Notices
from responder.engine.orders import Orders
from responder.engine.outbox import DeliveryOutcome, OutboxWorker
from responder.engine.preview import Previewer
from responder.engine.proofs import proofs
from responder.engine.readiness import Readiness
from responder.engine.readings import Reader
from responder.engine.reload import Reloader, RulebookInForce
from responder.engine.restraint import Restraint
from responder.engine.runner import StepRunner
from responder.engine.second_look import SecondLook
from responder.engine.watch import Pulse
from responder.errors import JournalUnavailableError
from responder.notifiers.registry import build_notifiers
from responder.notifiers.slack_api import ResponseUrls
from responder.notifiers.slack_bot import SlackBot
from responder.ports import Prometheus, Workloads
from responder.rulebook.loader import load_rulebook
from responder.settings import Settings
from responder.stores.database import Database, open_database
from responder.stores.report_files import ReportFiles
from responder.targets.registry import build_workloads
from responder.telemetry import Metrics, build_metrics
from responder.web.admission import SenderSecrets
from responder.web.app import build_app
from responder.web.listener import listen, url_of
from responder.web.people_file import PeopleFile, read_people
from responder.web.rate import CommandRate
from responder.web.rules import reload_document, rule_rows
from responder.web.server import server_config
from responder.web.services import PeopleServices, SlackServices, WebServices
from responder.web.tokens import Tokens

_log = structlog.get_logger(__name__)
_GAUGES_EVERY = timedelta(seconds=15)
_TOKENS_LOOKED_AT_EVERY = timedelta(seconds=2)
_REPORTS_EVERY = timedelta(seconds=5)
_MAINTENANCE_EVERY = timedelta(hours=1)
_ANSWERS_KEPT_FOR = timedelta(days=1)  # a command repeated later than this is a new one
_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letters that look like digits


def wall_clock() -> datetime:
    """The time now, aware, UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the one clock


def new_incident_id(now: datetime) -> str:
    """`inc_` and 15 characters: milliseconds since 1970, then chance. Sorts by time."""
    number = int(now.timestamp() * 1000) << 25 | secrets.randbits(25)
    return "inc_" + "".join(_ID_ALPHABET[number >> shift & 31] for shift in range(70, -1, -5))


def programs_of(settings: Settings) -> Programs:
    """What runs other programs, here and over SSH."""
    ssh = SshOptions(settings.ssh_key_file, settings.ssh_known_hosts_file, settings.ssh_config_file)
    return Programs(settings.inherited, ssh, settings.allowed_programs)


def workloads_of(settings: Settings, cluster: KubernetesClient, http: httpx.AsyncClient, kubeconfig: str | None) -> Workloads:
    """kubeconfig: the one in use when it is not the usual one."""
    environment = {**settings.of_the_cluster, **({"KUBECONFIG": kubeconfig} if kubeconfig else {})}
    token = _text(settings.argocd_token)
    argocd = ArgoCdClient(settings.argocd_url, token, http) if settings.argocd_url and token else None
    return build_workloads(cluster, wall_clock, programs_of(settings), argocd=argocd, cluster_environment=environment)


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: the command decides when to stop, and everything beside the server must stop too."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(slots=True)
class Service:
    """A running service. url: where it listens. stop: ask it to end; `wait` returns when it has, or raises what broke it."""

    url: str
    reloader: Reloader
    database: Database
    brain: Brain
    desk: IncidentDesk
    started: float
    server: _Server
    reader: Reader
    feed: Feed
    cluster: KubernetesClient | None = None
    main: asyncio.Task[None] | None = None

    @property
    def rulebook(self) -> Rulebook:
        """The one in force now."""
        return self.reloader.in_force

    def stop(self) -> None:
        self.feed.close()  # or the server would wait for those who listen
        self.server.should_exit = True

    def reload_soon(self) -> None:
        """For signal handlers. The outcome is logged and counted."""
        self.reloader.reload_soon()

    async def load_credentials(self) -> None:
        """Find out now, and not at the first rollback, that the cluster's credentials can't be used. Sends nothing.

        Raises SettingsError.
        """
        places = (target.workload for target in self.rulebook.targets.values())
        if self.cluster is not None and any(isinstance(place, WorkloadRef | HelmRef) for place in places):
            await self.cluster.connect()

    async def wait(self) -> None:
        if self.main is not None:
            await asyncio.shield(self.main)


@asynccontextmanager
async def serving(settings: Settings, *, kubeconfig: str | None = None) -> AsyncIterator[Service]:
    """Build everything, listen, fold the journal, run until `stop` or until the block is left.

    kubeconfig: None looks in the usual places.
    Raises SettingsError or RulebookError before anything is touched.
    """
    started = time.monotonic()
    rulebook = load_rulebook(settings.rules, PARAMETERS)
    listener = listen(settings.host, settings.port)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        database = await open_database(settings.database_url.get_secret_value())
        stack.push_async_callback(database.close)
        http = await stack.enter_async_context(new_client())
        cluster = KubernetesClient(kubeconfig)
        stack.push_async_callback(cluster.close)
        metrics = build_metrics()
        metrics.rulebook_reload_ok.set(1)
        parts = _Parts(settings, rulebook, database, workloads_of(settings, cluster, http, kubeconfig), metrics)
        service, tasks = parts.assemble(http, cluster, listener, started)
        service.cluster = cluster
        await service.brain.note_start()
        await tasks.restraint.load()  # before anybody can give a command
        service.main = asyncio.create_task(tasks.run(listener), name="service")
        try:
            await tasks.ready.wait()
            if service.main.done():
                await service.main
            yield service
        finally:
            service.stop()
            await asyncio.gather(service.main, return_exceptions=True)


class _Tasks:
    """What runs side by side for as long as the service lives."""

    def __init__(
        self,
        service: Service,
        outbox: OutboxWorker,
        keeper: LedgerKeeper,
        settings: Settings,
        metrics: Metrics,
        *,
        checkpoints: CheckpointKeeper,
        people_file: PeopleFile | None,
        follow_up: FollowUp,
        restraint: Restraint,
    ) -> None:
        self.restraint = restraint
        self._service = service
        self._outbox = outbox
        self._keeper = keeper
        self._checkpoints = checkpoints
        self._follow_up = follow_up
        self._people_file = people_file
        self._settings = settings
        self._metrics = metrics
        self.ready = asyncio.Event()

    async def run(self, listener: socket.socket) -> None:
        """Until the server was asked to stop. The intake answers while the journal is still being folded."""
        service = self._service
        serve = asyncio.create_task(service.server.serve(sockets=[listener]), name="server")
        try:
            async with asyncio.TaskGroup() as group:
                engine = group.create_task(self._engine(), name="engine")
                await asyncio.wait({serve, engine}, return_when=asyncio.FIRST_COMPLETED)
                engine.cancel()
        finally:
            self.ready.set()
            service.server.should_exit = True
            [ended] = await asyncio.gather(serve, return_exceptions=True)
            await self._keep_state()
        if ended is not None:  # nobody asked it to stop: say so, so that whoever supervises us starts us again
            raise ended

    async def _keep_state(self) -> None:
        try:
            await self._service.brain.snapshot()
        except JournalUnavailableError as error:
            _log.warning("snapshot_not_kept", error=str(error), consequence="the next start takes longer")

    async def _engine(self) -> None:
        service = self._service
        await service.brain.recover()
        self.ready.set()
        _log.info(
            "ready", url=service.url, seconds=round(time.monotonic() - service.started, 3), rules=len(service.rulebook.rules)
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(service.brain.run(), name="brain")
            group.create_task(service.reader.run(), name="readings")
            group.create_task(self._outbox.run(), name="outbox")
            group.create_task(self._keeper.run(service.rulebook.targets), name="ledger")
            group.create_task(self._checkpoints.run(), name="checkpoints")
            group.create_task(self._follow_up.run(), name="follow-up")
            if self._people_file is not None:
                look = self._every(_TOKENS_LOOKED_AT_EVERY, self._people_file.look, first=_TOKENS_LOOKED_AT_EVERY)
                group.create_task(look, name="tokens")
            if self._settings.reports_dir is not None:
                files = ReportFiles(self._settings.reports_dir, service.database.incidents, render_report)
                group.create_task(self._every(_REPORTS_EVERY, files.write_reports, first=timedelta(0)), name="reports")
            group.create_task(self._every(_GAUGES_EVERY, self._count, first=timedelta(0)), name="gauges")
            group.create_task(self._every(_MAINTENANCE_EVERY, self._maintain, first=_MAINTENANCE_EVERY), name="maintenance")

    async def _every(self, pause: timedelta, work: Callable[[], Awaitable[None]], *, first: timedelta) -> None:
        """Side work: whatever breaks it, brain and outbox go on. first: the pause before the first time."""
        await asyncio.sleep(first.total_seconds())
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 (the boundary of side work: rollbacks must not depend on it)
                _log.exception("side_work_failed", work=work.__name__.strip("_"))
            await asyncio.sleep(pause.total_seconds())

    async def _count(self) -> None:
        await count_open(self._service.database, self._metrics)

    async def _maintain(self) -> None:
        """Nothing grows without bound."""
        await self._service.brain.snapshot()
        now = wall_clock()
        entries = await self._service.database.journal.prune(now - timedelta(days=self._settings.journal_retention_days))
        closed = await self._service.database.incidents.prune(now - timedelta(days=self._settings.incident_retention_days))
        said = await self._service.database.people.prune(
            answers_before=now - _ANSWERS_KEPT_FOR, others_before=now - timedelta(days=self._settings.incident_retention_days)
        )
        _log.info("pruned", journal_entries=entries, incidents=closed, said=said)


async def count_open(database: Database, metrics: Metrics) -> None:
    """Bring the gauges of open incidents and waiting messages up to date."""
    found = await database.incidents.list(open_only=True, limit=10_000)
    metrics.incidents.clear()
    for incident in found:
        metrics.incidents.labels(incident.status.value).inc()
    metrics.outbox_pending.set(await database.outbox.pending())


class _Parts:
    """The parts that many others need."""

    def __init__(
        self, settings: Settings, rulebook: Rulebook, database: Database, workloads: Workloads, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._in_force = RulebookInForce(rulebook)
        self._log = DecisionLog()
        self._database = database
        self._workloads = workloads
        self._metrics = metrics
        self._tokens = _tokens(settings)
        self._people_file = PeopleFile(settings.tokens_file, self._tokens) if settings.tokens_file else None
        self._decisions = {kind: metrics.decisions.labels(kind.value) for kind in DecisionKind}

    def assemble(
        self, http: httpx.AsyncClient, cluster: KubernetesClient, listener: socket.socket, started: float
    ) -> tuple[Service, _Tasks]:
        database, metrics = self._database, self._metrics
        notifiers = build_notifiers(self._settings, http)
        warn_about_notifiers(self._in_force.rulebook, notifiers)
        outbox = OutboxWorker(database.outbox, notifiers, wall_clock, on_outcome=self._count_delivery)
        pulse = Pulse()
        second_look = self._second_look(http, lambda: brain.evaluator)
        prometheus = self._prometheus(http)
        reader = Reader(
            wanted=lambda: brain.evaluator.wanted,
            prometheus=prometheus,
            journal=database.journal,
            clock=wall_clock,
            on_read=lambda told: metrics.readings.labels("none" if told.number is None else "number").inc(),
        )
        brain = Brain(
            evaluator=Evaluator(self._in_force.rulebook),
            digest=self._in_force.rulebook.digest,
            journal=database.journal,
            incidents=database.incidents,
            pulse=pulse,
            clock=wall_clock,
            on_decision=self._note,
            on_folded=lambda lag: self._folded(lag, reader),
            on_recalled=self._log.note,
            vouched=second_look.vouched if second_look else None,
        )
        feed = Feed(secrets.token_hex(4))

        def changed(incident: Incident, events: Sequence[IncidentEvent]) -> None:
            feed.note(incident, events)
            follow_up.note(incident)

        desk = IncidentDesk(
            incidents=database.incidents,
            rulebook=lambda: self._in_force.rulebook,
            clock=wall_clock,
            new_id=new_incident_id,
            configured=notifiers.keys(),
            live={name for name, one in notifiers.items() if isinstance(one, SlackBot)},
            hold=lambda: restraint.hold,
            on_outbox=outbox.wake,
            link_to=self._link_to,
            on_closed=lambda incident: self._closed(incident, checkpoints),
            on_changed=changed,
        )
        radius = BlastRadius(database.ledger, wall_clock, lambda: self._in_force.rulebook.limits)
        facts = FactFinder(
            self._workloads,
            database.ledger,
            database.incidents,
            wall_clock,
            second_look.before_acting if second_look else None,
            radius=radius,
            looked_at=lambda: restraint.lifted_at,
        )
        approvals = Approvals(desk=desk, pulse=pulse, clock=wall_clock)
        restraint, claims = Restraint(database.people, Freezes(lambda: self._in_force.rulebook)), Claims()
        runner = StepRunner(
            desk=desk,
            actions=build_actions(
                http,
                cluster,
                programs_of(self._settings),
                self._settings.named_secrets,
                prometheus,
            ),
            workloads=self._workloads,
            ledger=database.ledger,
            targets=self._targets,
            look=LastLook(
                facts=facts,
                targets=self._targets,
                still_firing=brain.still_firing,
                clock=wall_clock,
                hold=lambda: restraint.hold,
                radius=radius,
            ),
            ask=approvals.ask_for_step,
            hold=lambda: restraint.hold,
            note=brain.note_rollback,
            clock=wall_clock,
            secrets=self._settings.secrets(),
        )
        admission = Admission(
            desk=desk,
            facts=facts,
            approvals=approvals,
            restraint=restraint,
            claims=claims,
            targets=self._targets,
            still_firing=brain.still_firing,
            has_cleared=brain.has_cleared,
            clock=wall_clock,
        )
        conductor = Conductor(
            desk=desk,
            runner=runner,
            admission=admission,
            claims=claims,
            has_cleared=brain.has_cleared,
            pulse=pulse,
            clock=wall_clock,
            goes_on=second_look.goes_on if second_look else None,
        )
        brain.employ(desk, conductor, restraint)
        checkpoints = CheckpointKeeper(desk=desk, incidents=database.incidents, runner=runner, clock=wall_clock)
        follow_up = FollowUp(
            desk=desk,
            incidents=database.incidents,
            rulebook=lambda: self._in_force.rulebook,
            configured=notifiers.keys(),
            has_cleared=brain.has_cleared,
            pulse=pulse,
            clock=wall_clock,
        )
        keeper = LedgerKeeper(self._workloads, database.ledger, wall_clock)
        notices = Notices(
            outbox=database.outbox,
            rulebook=lambda: self._in_force.rulebook,
            configured=notifiers.keys(),
            new_id=new_incident_id,
            clock=wall_clock,
            on_outbox=outbox.wake,
        )
        reloader = Reloader(
            notices=notices,
            load=lambda: load_rulebook(self._settings.rules, PARAMETERS),
            in_force=self._in_force,
            brain=brain,
            on_changed=lambda rulebook: self._changed(rulebook, keeper, notifiers, follow_up),
            on_outcome=metrics.rulebook_reload_ok.set,
        )
        audit = AuditLog(database.people, wall_clock)
        people = PeopleServices(
            Commands(desk=desk, brain=brain, restraint=restraint, audit=audit, pulse=pulse, clock=wall_clock, notices=notices),
            Orders(
                desk=desk,
                incidents=database.incidents,
                brain=brain,
                admission=admission,
                restraint=restraint,
                audit=audit,
                rulebook=lambda: self._in_force.rulebook,
                clock=wall_clock,
            ),
            database.people,
        )
        previewer = Previewer(orders=people.orders, runner=runner, clock=wall_clock)
        view = GuardView(
            facts=facts,
            targets=self._targets,
            firing=lambda: list(brain.evaluator.firing()),
            holder=claims.holder,
            hold=lambda: restraint.hold,
            clock=wall_clock,
        )
        app = build_app(replace(self._web(brain, desk, reloader, people, previewer, http=http), guards=view, feed=feed))
        server = _Server(server_config(app, host=self._settings.host, port=self._settings.port))
        service = Service(url_of(listener), reloader, database, brain, desk, started, server, reader, feed)
        return service, _Tasks(
            service,
            outbox,
            keeper,
            self._settings,
            metrics,
            checkpoints=checkpoints,
            people_file=self._people_file,
            follow_up=follow_up,
            restraint=restraint,
        )

    def _second_look(self, http: httpx.AsyncClient, evaluator: Callable[[], Evaluator]) -> SecondLook | None:
        if not self._settings.alertmanager_url:
            return None
        lists = AlertmanagerClient(self._settings.alertmanager_url, http, token=_text(self._settings.alertmanager_token))
        return SecondLook(lists, evaluator=evaluator, rulebook=lambda: self._in_force.rulebook, clock=wall_clock)

    def _prometheus(self, http: httpx.AsyncClient) -> Prometheus:
        warn_about_prometheus(self._in_force.rulebook, self._settings)
        if self._settings.prometheus_url is None:
            return NoPrometheus()
        return PrometheusClient(
            self._settings.prometheus_url.get_secret_value(), http, token=_text(self._settings.prometheus_token)
        )

    def _folded(self, lag: timedelta, reader: Reader) -> None:
        self._metrics.evaluation_lag.set(lag.total_seconds())
        reader.look()

    def _closed(self, incident: Incident, checkpoints: CheckpointKeeper) -> None:
        self._metrics.rollback_runs.labels(incident.status.value).inc()
        checkpoints.note(incident)

    def _note(self, decision: Decision) -> None:
        self._decisions[decision.kind].inc()
        self._log.note(decision)

    def _changed(self, rulebook: Rulebook, keeper: LedgerKeeper, notifiers: Collection[str], follow_up: FollowUp) -> None:
        """Another rulebook comes into force: for those who can't just look."""
        gc.unfreeze()  # what was frozen after the start holds the old state, which may go now
        keeper.follow(rulebook.targets)
        follow_up.look()
        self._log.keep_only({rule.name for rule in rulebook.rules})
        warn_about_notifiers(rulebook, notifiers)
        warn_about_prometheus(rulebook, self._settings)

    def _web(
        self,
        brain: Brain,
        desk: IncidentDesk,
        reloader: Reloader,
        people: PeopleServices,
        previewer: Previewer,
        *,
        http: httpx.AsyncClient,
    ) -> WebServices:
        return WebServices(
            journal=self._database.journal,
            incidents=self._database.incidents,
            clock=wall_clock,
            tokens=self._tokens,
            command_rate=CommandRate(self._settings.commands_per_minute),
            sender_secrets=_sender_secrets(self._settings),
            metrics=self._metrics,
            targets=self._targets,
            versions=self._versions,
            proofs=lambda name, state: proofs(self._database.ledger, self._database.incidents, self._targets()[name], state),
            ledger_of=self._database.ledger.entries,
            rules_state=lambda: rule_rows(
                self._in_force.rulebook, chain(brain.evaluator.groups(), brain.evaluator.counting()), self._log
            ),
            readiness=Readiness(
                is_folded=lambda: brain.is_folded,
                position=lambda: brain.position,
                probe=self._database.probe,
                clock=wall_clock,
            ).look,
            render_report=render_report,
            report_document=report_document,
            progress_of=desk.progress_of,
            reload=lambda: self._reload(reloader),
            people=people,
            previewer=previewer,
            slack=SlackServices(_key(self._settings.slack_signing_secret), ResponseUrls(http, self._settings.slack_api_url).tell),
        )

    async def _reload(self, reloader: Reloader) -> Mapping[str, object]:
        """Rulebook and tokens file. Raises RulebookError, JournalUnavailableError or SettingsError."""
        document = await reload_document(reloader)
        if self._people_file is not None:
            self._people_file.read()
        return document

    def _targets(self) -> Mapping[str, Target]:
        return self._in_force.rulebook.targets

    async def _versions(self, name: str) -> WorkloadState:
        return await self._workloads.of(self._targets()[name]).read()

    def _link_to(self, incident_id: str) -> str:
        base = self._settings.public_url
        return f"{base}/v1/incidents/{incident_id}/report?format=html" if base else ""

    def _count_delivery(self, to: str, outcome: DeliveryOutcome) -> None:
        if outcome is DeliveryOutcome.DELIVERED:
            self._metrics.outbox_delivered.labels(to).inc()
        else:
            self._metrics.outbox_failed.labels(to).inc()


def warn_about_notifiers(rulebook: Rulebook, configured: Collection[str]) -> None:
    """A silent responder is the last thing people expect: say at the start who will not be told."""
    if not configured:
        _log.warning("nobody_is_told", hint="set RESPONDER_SLACK_…, RESPONDER_PAGERDUTY_ROUTING_KEY or RESPONDER_SMTP_URL")
    declared = () if rulebook.routes == DEFAULT_ROUTES else rulebook.routes
    wanted = [*(route.to for route in declared), *(name for level in rulebook.escalation for name in level.tell)]
    for name in dict.fromkeys(name for name in wanted if name not in configured):
        _log.warning("notifier_not_configured", notifier=name, hint=f"the rulebook notifies {name}, but its settings are missing")


def warn_about_prometheus(rulebook: Rulebook, settings: Settings) -> None:
    """Rules whose numbers would always be missing ask and never act: say so at the start."""
    users = prometheus_users(rulebook)
    if users and settings.prometheus_url is None:
        _log.warning("prometheus_not_configured", needed_by=users, hint="set RESPONDER_PROMETHEUS_URL; they have no numbers")


def _tokens(settings: Settings) -> Tokens:
    """Raises SettingsError when the tokens file can't be used."""
    return Tokens.of(
        webhook=_text(settings.webhook_token),
        viewer=_text(settings.viewer_token),
        operator=_text(settings.operator_token),
        named=read_people(settings.tokens_file) if settings.tokens_file else None,
        clock=wall_clock,
    )


def _sender_secrets(settings: Settings) -> SenderSecrets:
    return SenderSecrets(_key(settings.sentry_client_secret), _key(settings.grafana_secret), _key(settings.sentry_legacy_token))


def _key(secret: SecretStr | None) -> bytes | None:
    return secret.get_secret_value().encode() if secret else None


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
