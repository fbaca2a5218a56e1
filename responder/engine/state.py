"""Everything the evaluator remembers."""

from __future__ import annotations

from datetime import datetime

from responder.engine.alerts import Alert, AlertId, EndedEpisodes
from responder.engine.happenings import Happenings
from responder.engine.membership import Membership
from responder.engine.rule_table import RuleTable
from responder.engine.seen_ids import SeenIds


class State:
    """began: when the first journal entry was folded, None before."""

    def __init__(self, table: RuleTable) -> None:
        self.began: datetime | None = None
        self.alerts: dict[AlertId, Alert] = {}
        self.ended = EndedEpisodes()
        self.seen = SeenIds()
        self.membership = Membership(table)
        self.happenings = Happenings(self.membership)
