"""Mail, handed to a real SMTP server: threads, circles of readers, encryption, log-in, and which refusals may pass."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from responder.clients.smtp import Mailer, SmtpServer, is_mail_address, read_smtp_url
from responder.domain.notification import Message, Moment
from responder.errors import OutcomeUnknownError, PermanentError, ResponderError, TemporaryError, UnreachableError
from responder.notifiers.email import Email
from tests.harness.mailbox import PASSWORD, USER, Mailbox
from tests.unit.message_values import delivery, message

CERTIFICATE = Path(__file__).parents[1] / "harness" / "mailbox.pem"
ONCALL, LEAD, LIST = "oncall@example.com", "lead@example.com", "status@lists.example.com"


def server(mailbox: Mailbox, **changes: object) -> SmtpServer:
    plain = SmtpServer("localhost", mailbox.port, "responder@example.com", starttls=False)
    return replace(plain, **changes)  # type: ignore[arg-type]


def told(number: int = 1, **changes: object) -> Message:
    return message(number, **{"addresses": (ONCALL, LEAD), **changes})


async def tell(where: SmtpServer, one: Message, remote: Mapping[str, str] | None = None) -> Mapping[str, str]:
    return await Email(Mailer(where)).send(delivery(one, to="email", remote=remote))


async def test_an_incident_is_one_thread_for_our_own_people() -> None:
    async with Mailbox() as mailbox:
        remote: Mapping[str, str] = {}
        for number, moment in enumerate((Moment.OPENED, Moment.ACTING, Moment.RESOLVED), 1):
            remote = await tell(server(mailbox), told(number, moment=moment, title=f"news {number}"), remote)
    first, second, third = (mail.message for mail in mailbox.mails)
    assert mailbox.mails[0].recipients == (ONCALL, LEAD)
    assert first["In-Reply-To"] is None
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert third["In-Reply-To"] == second["Message-ID"]
    assert third["References"] == f"{first['Message-ID']} {second['Message-ID']}"
    assert [one["Subject"] for one in (first, second, third)] == ["[P1] news 1", "Re: [P1] news 1", "Re: [P1] news 1"]
    assert "news 3" in mailbox.mails[2].text
    assert first["Auto-Submitted"] == "auto-generated"


async def test_a_mail_says_everything_as_text_and_as_html() -> None:
    async with Mailbox() as mailbox:
        await tell(server(mailbox), told(text="5 % <b>errors</b>\nsince noon", facts=(("Rule", "a<b"), ("From", "1.5.0"))))
    [mail] = mailbox.mails
    assert "5 % <b>errors</b>\nsince noon" in mail.text.replace("\r\n", "\n")
    assert "From: 1.5.0" in mail.text
    assert "https://responder.example.com/incidents/inc_7" in mail.text
    assert "<b>" not in mail.html
    assert "5 % &lt;b&gt;errors&lt;/b&gt;" in mail.html


async def test_the_same_message_sent_again_is_the_same_mail() -> None:
    async with Mailbox() as mailbox:
        for _ in range(2):
            await tell(server(mailbox), told())
    one, again = mailbox.mails
    assert one.message["Message-ID"] == again.message["Message-ID"]


async def test_no_line_of_an_alert_becomes_a_header() -> None:
    attack = "x\r\nBcc: evil@example.net\r\n\r\nhello\u2028Bcc: evil@example.net"
    async with Mailbox() as mailbox:
        await tell(server(mailbox), told(title=attack, text=attack, facts=((attack, attack),), incident=attack))
    [mail] = mailbox.mails
    assert mail.message["Bcc"] is None
    assert mail.recipients == (ONCALL, LEAD)
    assert "evil" in mail.message["Subject"]


async def test_customers_read_neutral_words_in_a_thread_of_their_own_and_no_address() -> None:
    story = (
        (Moment.OPENED, {}),
        (Moment.ACTING, {}),
        (Moment.NOTICE, {}),
        (Moment.RECOVERED, {}),
        (Moment.RESOLVED, {"calm": True}),
    )
    remote: Mapping[str, str] = {}
    async with Mailbox() as mailbox:
        for number, (moment, more) in enumerate(story, 1):
            remote = await tell(server(mailbox), told(number, moment=moment, customers=(LIST,), **more), remote)
    public = [mail for mail in mailbox.mails if mail.recipients == (LIST,)]
    assert len(mailbox.mails) - len(public) == len(story)
    assert [mail.text.splitlines()[0] for mail in public] == [
        "We see problems with shop and are looking into them.",
        "shop works normally again.",
    ]
    assert public[1].message["In-Reply-To"] == public[0].message["Message-ID"]
    assert public[0].message["Message-ID"] != mailbox.mails[0].message["Message-ID"]
    for mail in public:
        whole = mail.message.as_string()
        assert "7.3%" not in whole
        assert LIST not in whole
        assert ONCALL not in whole


@pytest.mark.parametrize(
    ("changes", "was_told", "first_line"),
    [
        pytest.param({"status": "refused"}, True, "The problems with shop are not solved yet.", id="refused after they heard"),
        pytest.param({"status": "refused"}, False, None, id="refused, and they know of nothing"),
        pytest.param({"status": "cancelled", "calm": True}, True, "shop works normally again.", id="it cleared by itself"),
        pytest.param({"status": "observed"}, False, None, id="observe mode"),
    ],
)
async def test_customers_hear_the_end_of_what_they_heard_of(
    changes: dict[str, object], was_told: bool, first_line: str | None
) -> None:
    async with Mailbox() as mailbox:
        remote = await tell(server(mailbox), message(1, customers=(LIST,))) if was_told else {}
        mailbox.mails.clear()
        await tell(server(mailbox), message(2, moment=Moment.NOTICE, closes=True, customers=(LIST,), **changes), remote)
    assert [mail.text.partition(" Our")[0].splitlines()[0] for mail in mailbox.mails] == ([first_line] if first_line else [])


async def test_without_any_address_nobody_can_be_told() -> None:
    async with Mailbox() as mailbox:
        with pytest.raises(PermanentError, match="address"):
            await tell(server(mailbox), message())


# --- the connection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["STARTTLS", "TLS from the first byte"])
async def test_mail_goes_over_tls_with_a_log_in(tls: bool) -> None:
    async with Mailbox(CERTIFICATE, tls=tls, auth=True) as mailbox:
        scheme = "smtps" if tls else "smtp"
        url = f"{scheme}://{USER}:{quote(PASSWORD, safe='')}@localhost:{mailbox.port}?from=responder@example.com&ca={CERTIFICATE}"
        await tell(read_smtp_url(url), told())
    [mail] = mailbox.mails
    assert mail.encrypted
    assert mail.user == USER
    assert mail.sender == "responder@example.com"


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted() -> None:
    async with Mailbox(CERTIFICATE) as mailbox:
        with pytest.raises(ResponderError):
            await tell(server(mailbox, starttls=True), told())
    assert mailbox.mails == []


async def test_a_server_without_starttls_is_told_nothing() -> None:
    async with Mailbox() as mailbox:
        with pytest.raises(PermanentError):
            await tell(server(mailbox, starttls=True), told())
    assert mailbox.mails == []


async def test_a_wrong_password_is_final_and_told_nowhere() -> None:
    async with Mailbox(auth=True) as mailbox:
        with pytest.raises(PermanentError, match="535") as refused:
            await tell(server(mailbox, user=USER, password="hunter2hunter2"), told())
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param("451 busy", TemporaryError, id="4xx may pass"),
        pytest.param("552 too large", PermanentError, id="5xx does not"),
    ],
)
async def test_what_the_server_answers_to_a_mail(answer: str, kind: type[Exception]) -> None:
    async with Mailbox(answers=[answer]) as mailbox:
        with pytest.raises(kind, match=answer[:3]):
            await tell(server(mailbox), told())


@pytest.mark.parametrize(
    ("refused", "kind", "mails"),
    [
        pytest.param({ONCALL: "550 no such user"}, None, 1, id="one is gone: the others have it"),
        pytest.param({ONCALL: "550 gone", LEAD: "550 gone"}, PermanentError, 0, id="all are gone"),
        pytest.param({ONCALL: "450 later", LEAD: "550 gone"}, TemporaryError, 0, id="one may come back"),
        pytest.param({LEAD: "451 greylisted"}, TemporaryError, 1, id="one later: the others have it twice, as one mail"),
    ],
)
async def test_recipients_who_are_refused(refused: dict[str, str], kind: type[Exception] | None, mails: int) -> None:
    async with Mailbox(refused=refused) as mailbox:
        if kind is None:
            await tell(server(mailbox), told())
        else:
            with pytest.raises(kind):
                await tell(server(mailbox), told())
    assert len(mailbox.mails) == mails


async def test_a_server_that_is_not_there_has_taken_nothing() -> None:
    async with Mailbox() as mailbox:
        gone = server(mailbox)
    with pytest.raises(UnreachableError):
        await tell(gone, told())


async def test_a_connection_that_breaks_leaves_it_open_whether_it_was_taken() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.readline()
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with listening:
        port = int(listening.sockets[0].getsockname()[1])
        with pytest.raises(OutcomeUnknownError):
            await tell(SmtpServer("127.0.0.1", port, "a@example.com", starttls=False), told())


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("http://mail.example?from=a@b.c", "smtp://", id="another scheme"),
        pytest.param("smtp://mail.example", "from=", id="nobody it comes from"),
        pytest.param("smtp://mail.example?from=a@b.c%0ABcc", "from=", id="a line in the sender"),
        pytest.param("smtp://mail.example?from=a@b.c&starttls=maybe", "yes or no", id="neither yes nor no"),
        pytest.param("smtp://mail.example?from=a@b.c&tls=no", "not tls", id="an unknown word"),
        pytest.param("smtp://ann:hunter2@mail.example?from=a@b.c&starttls=no", "in the clear", id="a password in the clear"),
        pytest.param("smtp://mail.example:port?from=a@b.c", "port", id="a port that is none"),
    ],
)
def test_addresses_that_are_refused(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        read_smtp_url(url)
    assert "hunter2" not in str(refused.value)


def test_addresses_and_their_defaults() -> None:
    assert read_smtp_url("smtp://mail.example?from=a@b.c") == SmtpServer("mail.example", 587, "a@b.c")
    assert read_smtp_url("smtps://u%40x:p%2Fw@mail.example?from=a@b.c") == SmtpServer(
        "mail.example", 465, "a@b.c", "u@x", "p/w", tls=True, starttls=False
    )
    assert "p/w" not in repr(read_smtp_url("smtps://u:p%2Fw@mail.example?from=a@b.c"))


@pytest.mark.parametrize("text", ["", "ann", "ann@", "a b@c.d", "a@b.c\n", "Ann <a@b.c>", "a@b..c", "a@-b", "a@b,c@d"])
def test_what_is_no_mail_address(text: str) -> None:
    assert not is_mail_address(text)
