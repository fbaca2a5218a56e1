"""The number in the sentence that Sentry's metric alerts carry; there is no field for it.

`1000 events in the last 10 minutes` is 1000, `95.5% sessions crash free rate in …` is 0.955, `350ms p95(…)` is 0.35 (seconds),
`Events 150% higher in the last hour …` is 1.5 and `… 40% lower …` is -0.4: the change against the time compared with.
A number without a unit is the number itself, in whatever unit the alert rule's threshold has in Sentry.
"""

from __future__ import annotations

import re

from responder.domain.reading import read_number

READ_LIMIT = 300
"""How much of the sentence is looked at, in characters."""

_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3}){1,6}|\d{1,20})(?:\.\d{1,20})?(?:[eE][-+]?\d{1,3})?"
_CHANGE = re.compile(rf"(?:^|\s)(?P<amount>{_NUMBER})%\s+(?P<direction>higher|lower)\b", re.ASCII)
_AMOUNT = re.compile(rf"(?P<amount>{_NUMBER})(?P<unit>%|[A-Za-zµ]*)(?=\s|$)(?:\s+(?P<word>[A-Za-z]+)(?=\s|$))?", re.ASCII)
_LINE_END = re.compile(r"\r|\n|\\n")  # the last one: some versions escape it twice
_SECONDS = {"millisecond": 0.001, "second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}


def read_value(text: str) -> float | None:
    """The number of the first line; None when there is none or it can't be read with certainty."""
    line = _LINE_END.split(text[:READ_LIMIT].strip(), maxsplit=1)[0]
    change = _CHANGE.search(line)
    if change is not None:
        amount = read_number(f"{_plain(change['amount'])}%")
        return amount if amount is None or change["direction"] == "higher" else -amount
    found = _AMOUNT.match(line)
    if found is None:
        return None
    amount = read_number(_plain(found["amount"]) + found["unit"])
    if amount is None or found["unit"] or not found["word"]:
        return amount
    word = found["word"].lower()
    return amount * _SECONDS.get(word.removesuffix("s"), 1)


def _plain(amount: str) -> str:
    return amount.replace(",", "")
