"""A pager and a mailbox for runs of the shipped rulebooks, beside the Slack and the status page that every scene has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from responder.sandbox.pagerduty_catcher import PagerDutyCatcher
from tests.harness.mailbox import Mailbox


@dataclass(frozen=True)
class Carriers:
    pager: PagerDutyCatcher
    mailbox: Mailbox

    @property
    def settings(self) -> dict[str, str]:
        """The environment that leads to them."""
        return {
            "RESPONDER_PAGERDUTY_ROUTING_KEY": self.pager.routing_key,
            "RESPONDER_PAGERDUTY_URL": self.pager.url,
            "RESPONDER_SMTP_URL": f"smtp://127.0.0.1:{self.mailbox.port}?from=responder@example.com&starttls=no",
        }

    async def paged(self, incident_id: str) -> str:
        """Status of the pager's alert for this incident, "" when there is none."""
        return self.pager.status_of(f"responder-{incident_id}")

    async def mailed(self, address: str) -> list[str]:
        """What this address got, oldest first: each subject and text."""
        mails = [mail for mail in self.mailbox.mails if address in mail.recipients]
        return [f"{mail.message['Subject']}\n{mail.text}" for mail in mails]


@asynccontextmanager
async def carriers() -> AsyncIterator[Carriers]:
    async with PagerDutyCatcher() as pager, Mailbox() as mailbox:
        yield Carriers(pager, mailbox)
