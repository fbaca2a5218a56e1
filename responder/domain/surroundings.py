"""What stands around a workload and could spoil its rollback: budgets, quotas, autoscalers, the configuration it reads.

Facts as values, and the small decisions over them. Each says (outcome, reason).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from responder.domain.guard import Outcome
from responder.domain.target import Concern

Judged = tuple[Outcome, str]
Amounts = Mapping[str, Decimal]
"""By the resource's name: `pods`, `requests.cpu`, `limits.memory`…"""


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget. desired: pods that must be healthy at any time."""

    name: str
    desired: int


@dataclass(frozen=True, slots=True)
class Quota:
    """A ResourceQuota that counts every pod of its namespace."""

    name: str
    hard: Amounts
    used: Amounts


@dataclass(frozen=True, slots=True)
class Config:
    """A ConfigMap or Secret, as `configmap/name`. changed_at: when its contents last changed; None when it is not there.

    unreadable: why it could not be looked at; "" when it could.
    """

    name: str
    changed_at: datetime | None = None
    unreadable: str = ""

    @property
    def is_secret(self) -> bool:
        return self.name.startswith("secret/")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """unavailable: pods that the rollout may take away before others are ready. surge: pods that it may add before others go.

    Both in number; needs: what one pod of a version asks for; references: what it reads. Both by the digest of the version.
    A tuple that is None could not be read: `unreadable` says why, by the word for it.
    """

    replicas: int = 0
    unavailable: int = 0
    surge: int = 0
    autoscalers: tuple[str, ...] | None = ()
    budgets: tuple[Budget, ...] | None = ()
    quotas: tuple[Quota, ...] | None = ()
    needs: Mapping[str, Amounts] = field(default_factory=dict)
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    configs: Mapping[str, Config] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


_NOT_KNOWN_HERE = "not known for this kind of target"
_IGNORED = "not looked at, as the target says"


def judge_autoscaler(around: Surroundings | None) -> Judged:
    """Never refuses: a rollback leaves the number of pods alone. It is a word to people who plan to scale."""
    if around is None:
        return Outcome.PASS, _NOT_KNOWN_HERE
    if around.autoscalers is None:
        return Outcome.PASS, f"{around.unreadable.get('autoscalers', 'not read')}; a rollback leaves the number of pods alone"
    if around.autoscalers:
        return Outcome.PASS, f"{', '.join(around.autoscalers)} sets the number of pods, which a rollback leaves alone"
    return Outcome.PASS, "no autoscaler sets the number of pods"


def judge_budget(around: Surroundings | None, concern: Concern) -> Judged:
    """A rollout does not ask budgets (only evictions do): whether it would break one is told from its own strategy."""
    if concern is Concern.IGNORE or around is None:
        return Outcome.PASS, _IGNORED if concern is Concern.IGNORE else _NOT_KNOWN_HERE
    if around.budgets is None:
        return _cannot_tell(concern, f"can't tell whether a budget would be broken: {around.unreadable.get('budgets', '')}")
    left = max(0, around.replicas - around.unavailable)
    broken = [one for one in around.budgets if left < min(one.desired, around.replicas)]
    if broken:
        first = broken[0]
        reason = (
            f"PodDisruptionBudget {first.name} wants {first.desired} healthy pods, and the rollout may leave {left} of"
            f" {around.replicas} (its strategy)"
        )
        return _found(concern, reason)
    return Outcome.PASS, "no PodDisruptionBudget would be broken"


def judge_quota(around: Surroundings | None, digest: str | None, concern: Concern) -> Judged:
    """Whether the pods of the version with this digest would fit. None: no version was chosen."""
    if concern is Concern.IGNORE or around is None:
        return Outcome.PASS, _IGNORED if concern is Concern.IGNORE else _NOT_KNOWN_HERE
    if around.quotas is None:
        return _cannot_tell(concern, f"can't tell whether its pods would fit: {around.unreadable.get('quotas', '')}")
    needs = around.needs.get(digest or "", {})
    if around.unavailable or not around.surge:
        return Outcome.PASS, "old pods may go before new ones come: the quota does not stand in the way"
    for quota in around.quotas:
        for name, hard in quota.hard.items():
            free, needed = hard - quota.used.get(name, Decimal(0)), needs.get(name, Decimal(0))
            if needed > free:
                reason = f"ResourceQuota {quota.name} has {_number(free)} {name} left, and a new pod needs {_number(needed)}"
                return _found(concern, f"{reason} before an old one goes")
    return Outcome.PASS, "a new pod fits into the quota" if around.quotas else "no quota limits the namespace"


def judge_config(around: Surroundings | None, digest: str | None, since: datetime | None, concern: Concern) -> Judged:
    """What the version reads must be there, and should be as it was when it last ran. since: when it last ran; None: unknown."""
    if concern is Concern.IGNORE or around is None:
        return Outcome.PASS, _IGNORED if concern is Concern.IGNORE else _NOT_KNOWN_HERE
    return _judge_read(
        [around.configs[name] for name in around.references.get(digest or "", ()) if name in around.configs], since, concern
    )


def _judge_read(read: Sequence[Config], since: datetime | None, concern: Concern) -> Judged:
    blind = [one for one in read if one.unreadable and not one.is_secret]
    gone = [one.name for one in read if not one.unreadable and one.changed_at is None]
    if gone:
        return Outcome.REFUSE, f"{_names(gone)}, which that version reads, is not there any more: its pods would not start"
    changed = [one.name for one in read if since is not None and one.changed_at is not None and one.changed_at > since]
    if changed:
        return _found(concern, f"{_names(changed)} changed after that version last ran: a rollback does not bring it back")
    if blind or (since is None and read):
        why = f"{blind[0].name}: {blind[0].unreadable}" if blind else "unknown when that version last ran"
        return _cannot_tell(concern, f"can't tell whether what it reads changed ({why})")
    secrets = [one.name for one in read if one.unreadable]
    if secrets:  # the right to read Secrets is worse than not knowing
        return Outcome.PASS, f"not looked at, for want of a right: {_names(secrets)}"
    return Outcome.PASS, "what that version reads has not changed since" if read else "it reads no ConfigMap or Secret"


def judge_images(images: Iterable[str]) -> Judged:
    """Always passes: nobody here can ask the registry. It says so."""
    shown = ", ".join(images)
    return Outcome.PASS, f"whether {shown} can still be pulled shows only when its pods start" if shown else "no image to pull"


def _found(concern: Concern, reason: str) -> Judged:
    return Outcome.REFUSE if concern is Concern.REFUSE else Outcome.WARN, reason


def _cannot_tell(concern: Concern, reason: str) -> Judged:
    """Unknown refuses where the finding would."""
    return Outcome.UNKNOWN if concern is Concern.REFUSE else Outcome.WARN, reason


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _number(value: Decimal) -> str:
    return f"{value.normalize():f}"
