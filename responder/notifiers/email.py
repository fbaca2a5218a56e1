"""Mail: one thread per incident, by Message-ID, In-Reply-To, References and an unchanging subject.

Our own people (`addresses`) read everything. `customers` read in neutral words, in a thread of their own, that there are
problems, that they are over, or that they are not solved yet. They don't see each other's addresses.
The Message-ID is made of the message's id: a mail that is sent again, because nobody knows whether it arrived, is the same mail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from typing import Protocol
from urllib.parse import urlsplit

from responder.domain.notification import Delivery, Message, Moment
from responder.domain.public_words import public_text, public_title
from responder.domain.wording import one_line
from responder.errors import PermanentError

SUBJECT_LIMIT = 200
TEXT_LIMIT = 20_000
MOST_FACTS = 60

_FOR_CUSTOMERS = frozenset({Moment.OPENED, Moment.RESOLVED, Moment.FAILED})


class Mailing(Protocol):
    """Hands mails in; see `clients.smtp.Mailer`."""

    @property
    def sender(self) -> str: ...

    async def send(self, mail: EmailMessage, recipients: Sequence[str]) -> None: ...


class Email:
    def __init__(self, mailer: Mailing) -> None:
        self._mailer = mailer

    async def send(self, delivery: Delivery) -> Mapping[str, str]:
        message, known = delivery.message, dict(delivery.remote)
        if not message.addresses and not message.customers:
            raise PermanentError("no route to email names an address for this")
        if message.addresses:
            mail = compose(message, self._mailer.sender, known)
            mail["To"] = ", ".join(message.addresses)
            await self._mailer.send(mail, message.addresses)
            known |= _remembered(mail, known, "")
        moment = _public_moment(message, was_told="public_root" in known)
        if message.customers and moment is not None:
            mail = compose_public(message, moment, self._mailer.sender, known)
            mail["To"] = f"undisclosed-recipients <{self._mailer.sender}>"
            await self._mailer.send(mail, message.customers)
            known |= _remembered(mail, known, "public_")
        return known


def compose(message: Message, sender: str, known: Mapping[str, str]) -> EmailMessage:
    """For our own people. known: what was remembered of the incident's thread."""
    mail = _headed(message, sender, known, "", f"[{message.severity}] {message.title}")
    facts = message.facts[:MOST_FACTS]
    text = message.text[:TEXT_LIMIT].strip()
    lines = [message.title, "", text, ""]
    lines += [f"{one_line(name, 100)}: {one_line(value, 1000)}" for name, value in facts]
    link = message.link if _is_link(message.link) else ""
    lines += ["", link] if link else []
    footer = f"{message.incident_id} · message {message.id}"
    mail.set_content("\n".join([*lines, "", "-- ", footer, ""]))
    rows = "".join(
        f"<tr><th align='left' valign='top'>{escape(one_line(name, 100))}</th><td>{escape(one_line(value, 1000))}</td></tr>"
        for name, value in facts
    )
    linked = f'<p><a href="{escape(link)}">Open the incident</a></p>' if link else ""
    body = "".join(f"<p>{escape(part)}</p>" for part in text.split("\n") if part.strip())
    mail.add_alternative(
        f"<html><body><h3>{escape(message.title)}</h3>{body}<table>{rows}</table>{linked}<p><small>{escape(footer)}</small></p>"
        "</body></html>",
        subtype="html",
    )
    return mail


def compose_public(message: Message, moment: Moment, sender: str, known: Mapping[str, str]) -> EmailMessage:
    """For customers: nothing that an alert carries."""
    mail = _headed(message, sender, known, "public_", public_title(message))
    mail.set_content(f"{public_text(message, moment)[:TEXT_LIMIT]}\n\n-- \nReference: {message.id}\n")
    return mail


def _headed(message: Message, sender: str, known: Mapping[str, str], thread: str, subject: str) -> EmailMessage:
    """thread: prefix of what was remembered, "" for our own people's. The first mail's subject is the thread's."""
    mail = EmailMessage(policy=SMTP)
    first, last = known.get(f"{thread}root"), known.get(f"{thread}last")
    mail["From"] = sender
    mail["Subject"] = one_line(f"Re: {known[f'{thread}subject']}" if first else subject, SUBJECT_LIMIT)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = message_id(message, sender, thread)
    if first and last:
        mail["In-Reply-To"] = last
        mail["References"] = first if first == last else f"{first} {last}"
    mail["Auto-Submitted"] = "auto-generated"  # no holiday answers, please
    mail["X-Responder-Incident"] = one_line(message.incident_id, 100)
    return mail


def message_id(message: Message, sender: str, thread: str = "") -> str:
    """Of its own for each circle of readers: the same incident tells one nothing about the other's mail."""
    mark = hashlib.sha256(f"{thread}{message.id}".encode()).hexdigest()[:24]
    return f"<{mark}.responder@{sender.rpartition('@')[2]}>"


def _remembered(mail: EmailMessage, known: Mapping[str, str], thread: str) -> Mapping[str, str]:
    identity = str(mail["Message-ID"])
    root = known.get(f"{thread}root", identity)
    subject = known.get(f"{thread}subject") or str(mail["Subject"])
    return {f"{thread}root": root, f"{thread}last": identity, f"{thread}subject": subject}


def _public_moment(message: Message, *, was_told: bool) -> Moment | None:
    """What outsiders are told of; None for nothing. was_told: they know that there are problems."""
    if message.extra.get("public_text"):
        return message.moment
    if message.calm:
        return Moment.RESOLVED if was_told else None
    if message.moment is Moment.NOTICE and message.closes:
        return Moment.FAILED if was_told else None
    return message.moment if message.moment in _FOR_CUSTOMERS else None


def _is_link(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https") and url.isprintable() and " " not in url
    except ValueError:
        return False
