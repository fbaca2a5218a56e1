"""What the engine needs from the outside, as protocols: storage, targets, actions, and whom it asks or tells.

What others import is named here. Implementations live in stores, targets, actions, clients and notifiers.
"""

from __future__ import annotations

from responder.ports.actions import Action, Compensating, Previewing, StepContext
from responder.ports.outside import AlertLists, Clock, Notifier, Prometheus
from responder.ports.storage import Entry, EntryKind, Incidents, Journal, Ledger, OpenResult, Outbox, OutboxEntry, People
from responder.ports.targets import Inspectable, Stepwise, Traceable, Workload, Workloads

__all__ = [
    "Action",
    "AlertLists",
    "Clock",
    "Compensating",
    "Entry",
    "EntryKind",
    "Incidents",
    "Inspectable",
    "Journal",
    "Ledger",
    "Notifier",
    "OpenResult",
    "Outbox",
    "OutboxEntry",
    "People",
    "Previewing",
    "Prometheus",
    "StepContext",
    "Stepwise",
    "Traceable",
    "Workload",
    "Workloads",
]
