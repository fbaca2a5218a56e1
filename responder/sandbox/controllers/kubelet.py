"""A scheduler and kubelet in one, with one node and no containers: the image name decides what becomes of a pod.

`*bad*` starts, exits with 1 and sits in CrashLoopBackOff · `*nopull*` never pulls · `*unready*` runs but never gets ready ·
`*slow*` takes ten times as long to get ready · everything else is ready after `start_delay`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from responder.sandbox.api.operations import Operations, timestamp
from responder.sandbox.api.resources import NODES, PODS
from responder.sandbox.api.store import Json
from responder.sandbox.controllers.events import EventRecorder
from responder.sandbox.controllers.ownership import condition_of

COMPONENT = "kubelet"
NODE = "sandbox"


class Behaviour(StrEnum):
    BAD = "bad"
    NOPULL = "nopull"
    UNREADY = "unready"
    SLOW = "slow"
    OK = "ok"


def behaviour_of(image: str) -> Behaviour:
    return next((found for found in Behaviour if found is not Behaviour.OK and found in image), Behaviour.OK)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast pods live. backoff: between the restarts of a crashing container (a real kubelet's grows up to five minutes)."""

    start: timedelta = timedelta(seconds=0.3)
    stop: timedelta = timedelta(seconds=0.2)
    crash: timedelta = timedelta(seconds=0.2)
    backoff: timedelta = timedelta(seconds=2)


class _Stage(StrEnum):
    STARTING = "starting"
    SETTLED = "settled"
    RUNNING_BADLY = "running badly"
    BACKING_OFF = "backing off"
    ENDING = "ending"


@dataclass(slots=True)
class _Life:
    stage: _Stage
    due: datetime | None


class Kubelet:
    def __init__(self, operations: Operations, events: EventRecorder, pace: Pace) -> None:
        self._store, self._operations, self._events, self._pace = operations.store, operations, events, pace
        self._lives: dict[str, _Life] = {}
        self._addresses = 1

    def register_node(self) -> None:
        capacity = {"cpu": "8", "memory": "32Gi", "pods": "250"}
        node = self._operations.create(NODES, "", {"metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}})
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
        self._store.put(NODES.plural, {**node, "status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}})

    def reconcile(self, now: datetime) -> datetime | None:
        """Let every pod live on. Returns when the next thing happens to one of them."""
        pods = self._store.items(PODS.plural)
        living = {pod["metadata"]["uid"] for pod in pods}
        self._lives = {uid: life for uid, life in self._lives.items() if uid in living}
        for pod in pods:
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") or pod["metadata"].get("deletionTimestamp"):
                self._live(pod, now)
        return min((life.due for life in self._lives.values() if life.due is not None), default=None)

    def log_of(self, pod: Json) -> str:
        lines = []
        for status in pod.get("status", {}).get("containerStatuses", []):
            if status["restartCount"] or status["state"].get("running") or status["state"].get("terminated"):
                lines.append(f"starting {status['image']}")
            if status["lastState"].get("terminated"):
                lines.append("panic: cannot open database: connection refused")
        return "".join(f"{line}\n" for line in lines)

    def _live(self, pod: Json, now: datetime) -> None:
        uid = pod["metadata"]["uid"]
        life = self._lives.get(uid)
        if pod["metadata"].get("deletionTimestamp") and (life is None or life.stage is not _Stage.ENDING):
            grace = timedelta(seconds=pod["metadata"].get("deletionGracePeriodSeconds", 0))
            life = self._lives[uid] = _Life(_Stage.ENDING, now + min(self._pace.stop, grace))
        elif life is None:
            life = self._lives[uid] = self._accept(pod, now)
        if life.due is None or life.due > now:
            return
        if life.stage is _Stage.ENDING:
            self._store.remove(PODS.plural, pod["metadata"]["namespace"], pod["metadata"]["name"])
            del self._lives[uid]
        elif life.stage is _Stage.RUNNING_BADLY:
            self._crash(pod, life, now)
        elif life.stage in (_Stage.STARTING, _Stage.BACKING_OFF):
            self._start(pod, life, now)

    def _accept(self, pod: Json, now: datetime) -> _Life:
        """Schedule the pod and begin to start it."""
        self._addresses += 1
        address = f"10.244.{self._addresses // 250 % 250}.{self._addresses % 250}"
        pod["spec"]["nodeName"] = NODE
        pod["status"] = {
            "phase": "Pending", "qosClass": "BestEffort", "hostIP": "127.0.0.1", "podIP": address, "podIPs": [{"ip": address}],
            "startTime": timestamp(now),
            "containerStatuses": [
                {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "started": False,
                 "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {}}
                for container in pod["spec"]["containers"]
            ],
        }  # fmt: skip
        metadata = pod["metadata"]
        text = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {NODE}"
        self._events.record(pod, "Scheduled", text, "default-scheduler", now)
        self._write(pod, now)
        slow = any(behaviour_of(container["image"]) is Behaviour.SLOW for container in pod["spec"]["containers"])
        return _Life(_Stage.STARTING, now + self._pace.start * (10 if slow else 1))

    def _start(self, pod: Json, life: _Life, now: datetime) -> None:
        again, bad = life.stage is _Stage.BACKING_OFF, False
        for status in pod["status"]["containerStatuses"]:
            behaviour = behaviour_of(status["image"])
            if again and behaviour is not Behaviour.BAD:
                continue
            bad = bad or behaviour is Behaviour.BAD
            status["restartCount"] += again
            self._start_container(pod, status, behaviour, now)
        pulled = all(not status["state"].get("waiting") for status in pod["status"]["containerStatuses"])
        pod["status"]["phase"] = "Running" if pulled else "Pending"
        self._write(pod, now)
        life.stage, life.due = (_Stage.RUNNING_BADLY, now + self._pace.crash) if bad else (_Stage.SETTLED, None)

    def _start_container(self, pod: Json, status: Json, behaviour: Behaviour, now: datetime) -> None:
        image, name = status["image"], status["name"]
        if behaviour is Behaviour.NOPULL:
            text = f'Back-off pulling image "{image}"'
            status["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": text}}
            failure = (
                f'Failed to pull image "{image}": rpc error: code = NotFound desc = failed to pull and unpack image: not found'
            )
            self._events.record(pod, "Failed", failure, COMPONENT, now, warning=True)
            self._events.record(pod, "BackOff", text, COMPONENT, now, warning=True)
            return
        digest = hashlib.sha256(image.encode()).hexdigest()
        status |= {
            "state": {"running": {"startedAt": timestamp(now)}},
            "ready": behaviour in (Behaviour.OK, Behaviour.SLOW),
            "started": True,
            "imageID": f"docker-pullable://{image.partition(':')[0]}@sha256:{digest}",
        }
        self._events.record(pod, "Started", f"Started container {name}", COMPONENT, now)
        if behaviour is Behaviour.UNREADY:
            text = "Readiness probe failed: HTTP probe failed with statuscode: 503"
            self._events.record(pod, "Unhealthy", text, COMPONENT, now, warning=True)

    def _crash(self, pod: Json, life: _Life, now: datetime) -> None:
        metadata = pod["metadata"]
        where = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        for status in pod["status"]["containerStatuses"]:
            if behaviour_of(status["image"]) is not Behaviour.BAD:
                continue
            ended = {
                "exitCode": 1,
                "reason": "Error",
                "startedAt": status["state"]["running"]["startedAt"],
                "finishedAt": timestamp(now),
            }
            seconds = int(self._pace.backoff.total_seconds())
            text = f"back-off {seconds}s restarting failed container={status['name']} pod={where}"
            status |= {
                "ready": False,
                "started": False,
                "lastState": {"terminated": ended},
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": text}},
            }
            told = f"Back-off restarting failed container {status['name']} in pod {where}"
            self._events.record(pod, "BackOff", told, COMPONENT, now, warning=True)
        self._write(pod, now)
        life.stage, life.due = _Stage.BACKING_OFF, now + self._pace.backoff

    def _write(self, pod: Json, now: datetime) -> None:
        """Store the pod with its conditions as they follow from its containers."""
        status = pod["status"]
        unready = " ".join(container["name"] for container in status["containerStatuses"] if not container["ready"])
        why = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{unready}]"}
        conditions = []
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready"):
            holds = kind in ("PodScheduled", "Initialized") or not unready
            value = "True" if holds else "False"
            old = condition_of(status, kind)
            moved = old["lastTransitionTime"] if old and old["status"] == value else timestamp(now)
            condition = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": moved}
            conditions.append(condition if holds else {**condition, **why})
        status["conditions"] = conditions
        self._store.put(PODS.plural, pod)
