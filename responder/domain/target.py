"""Targets: what can be rolled back, where it runs, and within which limits.

A target's `workload` says where it is; each kind of place is one frozen dataclass whose text names it for people and is the key
under which the ledger and the marks of bad versions are kept: renaming a target in the rulebook forgets nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from responder.domain.matcher import Matcher


class Mode(StrEnum):
    OBSERVE = "observe"  # everything but the effect
    ARMED = "armed"


class OnOwner(StrEnum):
    """What to do about another controller that keeps the object as it wants it."""

    REFUSE = "refuse"
    SUSPEND = "suspend"  # suspend a Flux Kustomization or HelmRelease before acting; it stays so until a person resumes it


_IN_NAMESPACE = " in namespace "


def namespace_of(key: str) -> str:
    """The namespace in a place's words; "" for places that have none. Keys outlive the targets that they were of."""
    return key.rpartition(_IN_NAMESPACE)[2] if _IN_NAMESPACE in key else ""


@dataclass(frozen=True, slots=True)
class WorkloadRef:
    """A Kubernetes workload. kind: `Deployment`, `StatefulSet`, `DaemonSet` or Argo's `Rollout`."""

    namespace: str
    name: str
    kind: str = "Deployment"

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}{_IN_NAMESPACE}{self.namespace}"


@dataclass(frozen=True, slots=True)
class HelmRef:
    """A Helm release."""

    namespace: str
    release: str

    def __str__(self) -> str:
        return f"helm release {self.release}{_IN_NAMESPACE}{self.namespace}"


@dataclass(frozen=True, slots=True)
class ArgoCdRef:
    """An Argo CD application, rolled back by Argo CD itself. namespace: "" when it is in Argo CD's own."""

    application: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"argocd application {f'{self.namespace}/' if self.namespace else ''}{self.application}"


@dataclass(frozen=True, slots=True)
class ComposeRef:
    """A Docker Compose project. folder: where its files are, on `host` (`user@host`, over SSH) or here when that is "".

    services: those that are rolled back; () for all. rollback_tag: tag of the images kept for going back.
    """

    project: str
    folder: str
    host: str = ""
    files: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    rollback_tag: str = "rollback"

    def __str__(self) -> str:
        return f"compose project {self.project}{f' on {self.host}' if self.host else ''}"


@dataclass(frozen=True, slots=True)
class CheckoutRef:
    """A git checkout that is installed, built and run by a process manager.

    host: `user@host` over SSH, "" for here. install, build: argument lists run in the folder after checking out, () for none.
    manager: `pm2` or `systemd`. processes: names it knows them by.
    """

    folder: str
    host: str = ""
    install: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    manager: str = "pm2"
    processes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"checkout {self.folder}{f' on {self.host}' if self.host else ''}"


Place = WorkloadRef | HelmRef | ArgoCdRef | ComposeRef | CheckoutRef


@dataclass(frozen=True, slots=True)
class RollbackLimit:
    """At most `count` rollbacks `within` a sliding window."""

    count: int = 2
    within: timedelta = timedelta(hours=24)


class Concern(StrEnum):
    """What a guard does that found something which need not stop a rollback."""

    WARN = "warn"
    REFUSE = "refuse"
    IGNORE = "ignore"  # it does not even look


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """deployed_within: how old the suspect change may be. proven_for: how long a version must have been fully available.

    max_failures: so many failed rollbacks open the breaker. settle_for: no further rollback so soon after the last one began.
    waive: guards that only warn here. order: guards that are named first.
    """

    deployed_within: timedelta = timedelta(hours=1)
    proven_for: timedelta = timedelta(minutes=10)
    max_rollbacks: RollbackLimit = RollbackLimit()
    max_failures: RollbackLimit = RollbackLimit()
    settle_for: timedelta = timedelta(minutes=10)
    changed_config: Concern = Concern.WARN
    disruption_budget: Concern = Concern.WARN
    quota: Concern = Concern.WARN
    waive: tuple[str, ...] = ()
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Blast radius: how many rollbacks there may be over all targets and in one namespace, and how many of them may fail."""

    rollbacks: RollbackLimit = RollbackLimit(5, timedelta(hours=1))
    per_namespace: RollbackLimit = RollbackLimit(3, timedelta(hours=1))
    failures: RollbackLimit = RollbackLimit(3, timedelta(hours=6))


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Target:
    """Something that can be rolled back. A signal speaks of it when all `matchers` match its labels.

    evict_unready: of a StatefulSet, delete the bad version's unready pods: the controller would wait for them for ever.
    """

    name: str
    workload: Place
    matchers: tuple[Matcher, ...]
    mode: Mode = Mode.OBSERVE
    guards: GuardSettings = GuardSettings()
    on_owner: OnOwner = OnOwner.REFUSE
    evict_unready: bool = False

    @property
    def key(self) -> str:
        """The place in words: under it the ledger and the marks of bad versions are kept."""
        return str(self.workload)
