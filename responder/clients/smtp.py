"""Sending mail. aiosmtplib rather than the standard library's client in a thread: a mail that is given up ends at once, and no
thread that waits for a slow server keeps the process from ending.

4xx answers and silence may pass, 5xx answers don't. No error made here holds the server's address with its password.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import structlog

from responder.errors import OutcomeUnknownError, PermanentError, TemporaryError, UnreachableError

TIMEOUT = timedelta(seconds=15)  # of each exchange with the server
_QUOTED = 300
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_WORDS = {"yes": True, "no": False}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed in. tls: from the first byte. starttls: demanded; a server without it is refused.

    sender: address that mails come from. ca: file of the certificates to trust besides the system's, "" for none.
    """

    host: str
    port: int
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    starttls: bool = True
    ca: str = ""


def is_mail_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None and ".." not in text


def read_smtp_url(url: str) -> SmtpServer:
    """`smtp[s]://[user:password@]host[:port]?from=…[&starttls=yes|no][&ca=file]`. Raises ValueError, never with the password."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("its port must be a number from 1 to 65535") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("must be smtp://… or smtps://… (with a user or password, write special characters as %40)")
    given = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = sorted(set(given) - {"from", "starttls", "ca"})
    if unknown:
        raise ValueError(f"knows from, starttls and ca, not {', '.join(unknown)}")
    sender, starttls, tls = given.get("from", ""), given.get("starttls", "yes"), parts.scheme == "smtps"
    if not is_mail_address(sender):
        raise ValueError("needs ?from=<address that mails come from>")
    if starttls not in _WORDS:
        raise ValueError("starttls must be yes or no")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user and not (tls or _WORDS[starttls] or _is_here(parts.hostname)):
        raise ValueError("starttls=no would send the password in the clear")
    return SmtpServer(
        host=parts.hostname,
        port=port or (465 if tls else 587),
        sender=sender,
        user=user,
        password=password,
        tls=tls,
        starttls=_WORDS[starttls] and not tls,
        ca=given.get("ca", ""),
    )


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Mailer:
    """Hands mails to one server, each over a connection of its own."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    @property
    def sender(self) -> str:
        return self._server.sender

    async def send(self, mail: EmailMessage, recipients: Sequence[str]) -> None:
        """Returns when the server has taken it for at least one recipient, and for none of the others refused it only for now.

        Raises TemporaryError or PermanentError.
        """
        import aiosmtplib  # only whoever sends mail waits for it

        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls,
            start_tls=server.starttls,
            tls_context=_context(server) if server.tls or server.starttls else None,
            timeout=TIMEOUT.total_seconds(),
        )
        try:
            async with client:
                if server.user:
                    await client.login(server.user, server.password)
                refused, _ = await client.send_message(mail, sender=server.sender, recipients=list(recipients))
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _of_all([one.code for one in error.recipients], self._quoted(error.recipients[0].message)) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _of(error.code, self._quoted(error.message)) from None
        except aiosmtplib.SMTPConnectError as error:
            raise UnreachableError(f"the mail server can't be reached: {self._quoted(str(error))}") from None
        except (aiosmtplib.SMTPTimeoutError, ConnectionError) as error:
            raise OutcomeUnknownError(f"the mail server gave no answer ({type(error).__name__})") from None
        except aiosmtplib.SMTPNotSupported as error:
            raise PermanentError(f"the mail server lacks what is needed: {self._quoted(str(error))}") from None
        except (aiosmtplib.SMTPException, OSError) as error:  # ssl's errors are OSErrors
            if "STARTTLS" in str(error):
                raise PermanentError("the mail server offers no STARTTLS (starttls=no goes without)") from None
            raise TemporaryError(f"mail could not be handed in: {self._quoted(str(error))} ({type(error).__name__})") from None
        codes = [answer.code for answer in refused.values()]
        if any(400 <= code < 500 for code in codes):
            raise _of_all(codes, "some recipients were refused for now")
        if codes:
            _log.warning("mail_refused_for_some", recipients=sorted(refused), codes=sorted(set(codes)))

    def _quoted(self, text: str) -> str:
        line = " ".join(text.split())
        for secret in (self._server.password, self._server.user):
            line = line.replace(secret, "[secret]") if len(secret) >= 3 else line
        return line[:_QUOTED]


def _context(server: SmtpServer) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
        if server.ca:
            context.load_verify_locations(cafile=Path(server.ca))
    except (OSError, ssl.SSLError) as error:
        raise PermanentError(f"the mail server's `ca` file can't be read ({type(error).__name__})") from None
    return context


def _of(code: int, said: str) -> TemporaryError | PermanentError:
    text = f"the mail server answered {code}: {said}"
    return TemporaryError(text) if 400 <= code < 500 else PermanentError(text)


def _of_all(codes: Sequence[int], said: str) -> TemporaryError | PermanentError:
    """One that may pass makes all of it worth another try."""
    return _of(next((code for code in codes if 400 <= code < 500), codes[0] if codes else 554), said)
