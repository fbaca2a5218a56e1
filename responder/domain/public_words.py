"""What people outside are told: neutral words that name only the target, since an alert may carry anything.

Who wants other words says so in the message's `extra`: `public_name` (what the target is called), `public_title`, `public_text`.
"""

from __future__ import annotations

from responder.domain.notification import Message, Moment

_WORDS = {
    Moment.OPENED: "We see problems with {name} and are looking into them.",
    Moment.ACTING: "We have found a likely cause of the problems with {name} and are restoring the previous version.",
    Moment.RECOVERED: "The previous version of {name} is back in place. We are watching it.",
    Moment.RESOLVED: "{name} works normally again.",
    Moment.FAILED: "The problems with {name} are not solved yet. Our engineers are working on them.",
}


def public_name(message: Message) -> str:
    """What outsiders know it by."""
    return message.extra.get("public_name") or message.target or "our services"


def public_title(message: Message) -> str:
    """What outsiders read first."""
    return message.extra.get("public_title") or f"Problems with {public_name(message)}"


def public_text(message: Message, moment: Moment) -> str:
    """moment: as outsiders see it, which need not be the message's own."""
    return message.extra.get("public_text") or _WORDS[moment].format(name=public_name(message))
