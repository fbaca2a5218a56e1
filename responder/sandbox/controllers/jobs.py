"""Jobs: one pod each, which succeeds, or fails where its image is called `bad`; and what becomes of the Job."""

from __future__ import annotations

from datetime import datetime

from responder.sandbox.api.operations import Operations, random_suffix, timestamp
from responder.sandbox.api.resources import JOBS, PODS
from responder.sandbox.api.store import Json, copied
from responder.sandbox.controllers.kubelet import Behaviour, Pace, behaviour_of
from responder.sandbox.controllers.ownership import condition_of, owner_reference, parse_timestamp


class Jobs:
    """No retries: what fails has failed."""

    def __init__(self, operations: Operations, pace: Pace) -> None:
        self._operations, self._store, self._pace = operations, operations.store, pace

    def reconcile(self, job: Json, now: datetime) -> datetime | None:
        status = job.setdefault("status", {})
        if condition_of(status, "Complete") or condition_of(status, "Failed") or job["metadata"].get("deletionTimestamp"):
            return None
        if "startTime" not in status:
            status |= {"startTime": timestamp(now), "active": 1}
            self._store.put(JOBS.plural, job)
        due = parse_timestamp(status["startTime"]) + self._pace.start
        if now < due:
            return due
        image = str(job["spec"]["template"]["spec"]["containers"][0]["image"])
        failed = behaviour_of(image) is Behaviour.BAD
        self._put_pod(job, now, failed=failed)
        why = {"reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"} if failed else {}
        condition = {"type": "Failed" if failed else "Complete", "status": "True", "lastTransitionTime": timestamp(now), **why}
        job["status"] = {"startTime": status["startTime"], "conditions": [condition], "failed" if failed else "succeeded": 1}
        self._store.put(JOBS.plural, job)
        return None

    def _put_pod(self, job: Json, now: datetime, *, failed: bool) -> None:
        meta, template = job["metadata"], copied(job["spec"]["template"])
        labels = {**(template.get("metadata", {}).get("labels") or {}), "job-name": meta["name"]}
        pod = {
            "metadata": {
                "name": f"{meta['name']}-{random_suffix()}",
                "labels": labels,
                "ownerReferences": [owner_reference(JOBS, job)],
            },
            "spec": template["spec"],
        }
        created = self._operations.create(PODS, meta["namespace"], pod)
        ended = {"exitCode": int(failed), "reason": "Error" if failed else "Completed", "finishedAt": timestamp(now)}
        containers = [
            {"name": one["name"], "image": one["image"], "imageID": "", "ready": False, "restartCount": 0,
             "state": {"terminated": ended}, "lastState": {}}
            for one in template["spec"]["containers"]
        ]  # fmt: skip
        created["status"] = {"phase": "Failed" if failed else "Succeeded", "containerStatuses": containers}
        self._store.put(PODS.plural, created)
