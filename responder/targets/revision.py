"""Revisions of a pod template, whatever object keeps them: what Deployments, StatefulSets, DaemonSets and Rollouts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from responder.domain.version import Version
from responder.targets import template as templates

Object = Mapping[str, Any]

CHANGE_CAUSE = "kubernetes.io/change-cause"


@dataclass(frozen=True, slots=True)
class Revision:
    """One kept template as a version. number: 0 when the controller has not numbered it yet.

    kept_in: the ReplicaSet or ControllerRevision. template: ready to be put into the workload.
    """

    number: int
    version: Version
    kept_in: Object
    template: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.kept_in["metadata"]["name"])


def selector_text(selector: Object) -> str:
    """A LabelSelector as a query parameter."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression["key"], ",".join(expression.get("values") or [])
        forms = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(forms[expression["operator"]])
    return ",".join(parts)


def is_controlled_by(item: Object, uid: str) -> bool:
    references = item["metadata"].get("ownerReferences") or []
    return any(one.get("controller") and one.get("uid") == uid for one in references)


def owned(workload: Object, items: Sequence[Object]) -> list[Object]:
    """Those that this very workload controls and that are there to stay."""
    uid = workload["metadata"]["uid"]
    return [one for one in items if is_controlled_by(one, uid) and "deletionTimestamp" not in one["metadata"]]


def history(template: Object, known: Sequence[Revision]) -> tuple[Version, ...]:
    """Versions, newest revision first, the current one (with this template) always among them and first.

    Between a change and the controller's next look the current version has no number yet (or, reused, an old one): it is
    shown with the number that it is about to get.
    """
    others = [one for one in known if not one.version.current]
    own = next((one for one in known if one.version.current), None)
    upcoming = max((one.number for one in others), default=0) + 1
    if own is None:
        current = version_of(template, str(upcoming), current=True)
    elif own.number >= upcoming:
        current = own.version
    else:
        current = version_of(template, str(upcoming), current=True, change_cause=own.version.change_cause)
    return (current, *(one.version for one in others if one.number > 0))


def current_of(known: Sequence[Revision]) -> Revision | None:
    return next((one for one in known if one.version.current), None)


def with_digest(known: Sequence[Revision], digest: str) -> Revision | None:
    return next((one for one in known if one.version.digest == digest), None)


def runs(template: Object, version: Version, known: Sequence[Revision]) -> bool:
    """Is a workload with this template asked to run this version, restart stamps aside?"""
    if templates.digest(template) == version.digest:
        return True
    revision = with_digest(known, version.digest)
    return revision is not None and templates.steady_digest(template) == templates.steady_digest(revision.template)


def version_of(
    template: Object, revision: str, *, current: bool, created_at: datetime | None = None, change_cause: str = ""
) -> Version:
    return Version(
        version=templates.version_name(template),
        revision=revision,
        fingerprint=templates.fingerprint(template),
        digest=templates.digest(template),
        images=templates.images(template),
        created_at=created_at,
        change_cause=change_cause,
        current=current,
    )


def time_of(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
