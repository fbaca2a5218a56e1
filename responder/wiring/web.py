"""What the HTTP surface gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import chain

import httpx
from pydantic import SecretStr

from responder.domain.report import render_report, report_document
from responder.domain.version import WorkloadState
from responder.engine.assembly import Engine, EnginePorts
from responder.engine.decision_log import DecisionLog
from responder.engine.feed import Feed
from responder.engine.guard_view import GuardView
from responder.engine.proofs import proofs
from responder.engine.readiness import Readiness
from responder.notifiers.slack_api import ResponseUrls
from responder.settings.service import Settings
from responder.stores.database import Database
from responder.telemetry import Metrics
from responder.web.admission import SenderSecrets
from responder.web.people_file import read_people
from responder.web.rate import CommandRate
from responder.web.rules import rule_rows
from responder.web.services import PeopleServices, SlackServices, WebServices
from responder.web.slack_promises import SlackPromises
from responder.web.tokens import Tokens
from responder.wiring.clock import wall_clock
from responder.wiring.outside import text_of


def web_services(
    settings: Settings,
    ports: EnginePorts,
    engine: Engine,
    *,
    database: Database,
    http: httpx.AsyncClient,
    tokens: Tokens,
    metrics: Metrics,
    decisions: DecisionLog,
    feed: Feed,
    watched: Callable[[], Collection[str]],
    reload: Callable[[], Awaitable[Mapping[str, object]]],
) -> WebServices:
    """reload: of everything that is read from files while the service runs."""
    brain = engine.brain

    response_urls = ResponseUrls(http, settings.slack_api_url)

    async def versions(name: str) -> WorkloadState:
        return await ports.workloads.of(ports.targets()[name]).read()

    return WebServices(
        journal=ports.journal,
        incidents=ports.incidents,
        clock=wall_clock,
        tokens=tokens,
        command_rate=CommandRate(settings.commands_per_minute),
        sender_secrets=_sender_secrets(settings),
        metrics=metrics,
        targets=ports.targets,
        versions=versions,
        proofs=lambda name, state: proofs(ports.ledger, ports.targets()[name], state),
        ledger_of=ports.ledger.entries,
        rules_state=lambda: rule_rows(ports.rulebook(), chain(brain.evaluator.groups(), brain.evaluator.counting()), decisions),
        readiness=Readiness(
            is_folded=lambda: brain.is_folded, position=lambda: brain.position, probe=database.probe, clock=wall_clock
        ).look,
        render_report=render_report,
        report_document=report_document,
        progress_of=engine.desk.progress_of,
        reload=reload,
        people=PeopleServices(engine.commands, engine.orders, ports.people),
        previewer=engine.previewer,
        guards=GuardView(
            facts=engine.facts,
            targets=ports.targets,
            firing=lambda: list(brain.evaluator.firing()),
            holder=engine.claims.holder,
            hold=lambda: engine.restraint.hold,
            clock=wall_clock,
        ),
        watched=watched,
        feed=feed,
        unreadable=engine.notices.sender_unreadable,
        slack=SlackServices(
            _key(settings.slack_signing_secret),
            response_urls.tell,
            SlackPromises(ports.people, wall_clock, response_urls.tell, engine.notices.late_answer),
        ),
    )


def tokens_of(settings: Settings) -> Tokens:
    """Raises SettingsError when the tokens file can't be used."""
    return Tokens.of(
        webhook=text_of(settings.webhook_token),
        viewer=text_of(settings.viewer_token),
        operator=text_of(settings.operator_token),
        named=read_people(settings.tokens_file) if settings.tokens_file else None,
        clock=wall_clock,
    )


def _sender_secrets(settings: Settings) -> SenderSecrets:
    return SenderSecrets(_key(settings.sentry_client_secret), _key(settings.grafana_secret), _key(settings.sentry_legacy_token))


def _key(secret: SecretStr | None) -> bytes | None:
    return secret.get_secret_value().encode() if secret else None
