"""A real SMTP server in this process, with STARTTLS or TLS, log-in, and answers to order."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "ann", "pass word/§:@"


@dataclass(frozen=True, slots=True)
class Mail:
    """sender, recipients: of the envelope. encrypted: whether it came over TLS. user: who had logged in."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    encrypted: bool
    user: str

    @property
    def text(self) -> str:
        body = self.message.get_body(("plain",))
        return "" if body is None else str(body.get_content())

    @property
    def html(self) -> str:
        body = self.message.get_body(("html",))
        return "" if body is None else str(body.get_content())


@dataclass
class Mailbox:
    """answers: to the next messages, in order, instead of taking them. refused: recipients and what they are answered.

    certificate: PEM file with key and certificate; with it STARTTLS is offered, or with tls=True spoken from the first byte.
    """

    certificate: Path | None = None
    tls: bool = False
    auth: bool = False
    answers: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    _server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        context = None
        if self.certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.certificate)
        loop = asyncio.get_running_loop()

        def protocol() -> SMTP:
            return SMTP(
                self,
                hostname="mail.example",
                tls_context=None if self.tls else context,
                require_starttls=context is not None and not self.tls,
                authenticator=self._authenticate if self.auth else None,
                auth_required=self.auth,
                auth_require_tls=False,
                loop=loop,
            )

        self._server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context if self.tls else None)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def _authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        given = cast(LoginPassword, data)
        right = given.login == USER.encode() and given.password == PASSWORD.encode()
        return AuthResult(success=right, handled=False, auth_data=USER)

    async def handle_RCPT(  # noqa: N802 - the library's word
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - likewise
        if self.answers:
            return self.answers.pop(0)
        message = message_from_bytes(cast(bytes, envelope.content), policy=default)
        encrypted = session.ssl is not None or self.tls
        user = str(session.auth_data or "")
        self.mails.append(Mail(str(envelope.mail_from), tuple(envelope.rcpt_tos), cast(EmailMessage, message), encrypted, user))
        return "250 taken"
