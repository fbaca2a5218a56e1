"""Whether colours are wanted at all; whether a terminal is looked at is for whoever writes."""

from __future__ import annotations

import os


def colours_are_wanted() -> bool:
    """False where NO_COLOR says something: https://no-color.org."""
    return not os.environ.get("NO_COLOR")  # noqa: TID251 - what people want of every program is no setting of ours
