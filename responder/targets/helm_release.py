"""What Helm keeps of a release: one Secret per revision, with the rendered manifest in it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from responder.domain.ownership import FLUX
from responder.domain.version import Owner, Version
from responder.errors import PermanentError
from responder.targets import template as templates

Object = Mapping[str, Any]

DEPLOYED, SUPERSEDED, FAILED, PENDING_ROLLBACK = "deployed", "superseded", "failed", "pending-rollback"
WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_GZIP = b"\x1f\x8b\x08"
_MOST_BYTES = 64 * 1024 * 1024  # a release may not unpack to more


@dataclass(frozen=True, slots=True)
class Contents:
    """What a manifest says. workloads: kind, namespace ("" for the release's own) and name of what runs pods."""

    fingerprint: str
    images: tuple[str, ...]
    main_version: str
    workloads: tuple[tuple[str, str, str], ...]
    owners: tuple[Owner, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """One revision. digest: over the whole rendered manifest."""

    revision: int
    status: str
    description: str
    first_deployed: str
    deployed_at: datetime | None
    chart: str
    app_version: str
    manifest: str
    digest: str

    @property
    def is_pending(self) -> bool:
        return self.status.startswith("pending-") or self.status == "uninstalling"

    def version(self, contents: Contents, *, current: bool) -> Version:
        app = f", app {self.app_version}" if self.app_version else ""
        said = f": {self.description}" if self.description else ""
        return Version(
            version=contents.main_version or self.app_version or self.chart,
            revision=str(self.revision),
            fingerprint=contents.fingerprint,
            digest=self.digest,
            images=contents.images,
            created_at=self.deployed_at,
            change_cause=f"{self.chart}{app}, {self.status}{said}",
            current=current,
        )


def decode(secret: Object) -> Release:
    """Raises PermanentError for what is no release."""
    name = secret["metadata"]["name"]
    try:
        document = orjson.loads(_unpacked(str((secret.get("data") or {})["release"])))
        info, chart = document["info"], (document.get("chart") or {}).get("metadata") or {}
        manifest = str(document.get("manifest") or "")
        return Release(
            revision=int(document["version"]),
            status=str(info.get("status", "unknown")),
            description=str(info.get("description", ""))[:300],
            first_deployed=str(info.get("first_deployed", "")),
            deployed_at=_time(info.get("last_deployed")),
            chart=f"{chart.get('name', '?')}-{chart.get('version', '?')}",
            app_version=str(chart.get("appVersion") or ""),
            manifest=manifest,
            digest=hashlib.sha256(manifest.encode()).hexdigest(),
        )
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, zlib.error) as error:
        raise PermanentError(f"secret {name} holds no Helm release ({type(error).__name__})") from None


def _unpacked(text: str) -> bytes:
    """Once for the Secret, once for Helm itself; compressed since Helm 3."""
    packed = base64.b64decode(base64.b64decode(text))
    if not packed.startswith(_GZIP):
        return packed
    inflate = zlib.decompressobj(wbits=31)
    document = inflate.decompress(packed, _MOST_BYTES)
    if inflate.unconsumed_tail:
        raise ValueError("too large")
    return document


def _time(text: Any) -> datetime | None:
    """Go writes nanoseconds, and year 1 for none."""
    if not isinstance(text, str) or not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text)


def contents_of(manifest: str) -> Contents:
    """A manifest that is no readable YAML counts as one whole."""
    objects = _objects(manifest)
    if objects is None:
        return Contents(hashlib.sha256(manifest.encode()).hexdigest(), (), "", (), ())
    running = [one for one in objects if one.get("kind") in WORKLOADS]
    pods = [one["spec"]["template"] for one in running]
    meta = [one.get("metadata") or {} for one in running]
    return Contents(
        fingerprint=hashlib.sha256(orjson.dumps(sorted(map(_material, objects)), option=orjson.OPT_SORT_KEYS)).hexdigest(),
        images=tuple(dict.fromkeys(image for pod in pods for image in templates.images(pod))),
        main_version=templates.version_name(pods[0]) if pods else "",
        workloads=tuple(
            (str(o["kind"]), str(m.get("namespace", "")), str(m["name"])) for o, m in zip(running, meta, strict=True)
        ),
        owners=tuple(dict.fromkeys(owner for one in meta for owner in _flux(one))),
    )


def _objects(manifest: str) -> list[dict[str, Any]] | None:
    from ruamel.yaml import YAML  # only where there are releases
    from ruamel.yaml.error import YAMLError

    reader = YAML(typ="safe")
    reader.allow_duplicate_keys = True
    try:
        found = [one for one in reader.load_all(manifest) if one]
    except (YAMLError, ValueError):
        return None
    usable = all(isinstance(one, dict) and isinstance(one.get("metadata"), dict) for one in found)
    pods = all(isinstance(one["spec"]["template"], dict) for one in found if usable and _runs_pods(one))
    return found if usable and pods else None


def _runs_pods(one: Object) -> bool:
    return one.get("kind") in WORKLOADS and isinstance(one.get("spec"), dict) and "template" in one["spec"]


def _material(one: Object) -> tuple[str, str, str]:
    """Of workloads what is material in their pods; of anything else all but labels and annotations."""
    meta = one["metadata"]
    if one.get("kind") in WORKLOADS:
        said = templates.fingerprint(one["spec"]["template"])
    else:
        bare = {**one, "metadata": {key: meta.get(key) for key in ("name", "namespace")}}
        said = hashlib.sha256(orjson.dumps(bare, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)).hexdigest()
    return str(one.get("kind")), str(meta.get("name")), said


def _flux(meta: Object) -> Iterator[Owner]:
    labels = meta.get("labels") or {}
    name = labels.get("helm.toolkit.fluxcd.io/name")
    if name:
        yield Owner(FLUX, f"helm/{labels.get('helm.toolkit.fluxcd.io/namespace', '')}/{name}")
