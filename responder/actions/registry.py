"""Every action by the word it has in the rulebook's `uses`.

A new one is a module, a model in `parameters` and a line in each of the two tables.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from pydantic import BaseModel

from responder.actions.approve import Approve, ApproveParameters
from responder.actions.command import CommandCheck, CommandRun
from responder.actions.command_parameters import CommandParameters, CommandRunParameters
from responder.actions.http import HttpCheck
from responder.actions.http_parameters import HttpCheckParameters, HttpRequestParameters
from responder.actions.http_request import HttpRequest
from responder.actions.kubernetes.registry import KUBERNETES_PARAMETERS, kubernetes_actions
from responder.actions.notify import Notify
from responder.actions.parameters import NotifyParameters, RollbackParameters, SleepParameters
from responder.actions.prometheus import PrometheusCheck
from responder.actions.prometheus_parameters import PrometheusCheckParameters
from responder.actions.rollback import Rollback
from responder.actions.sleep import Sleep
from responder.clients.kubernetes import KubernetesClient
from responder.clients.programs import Programs
from responder.clients.prometheus import NoPrometheus
from responder.ports import Action, Prometheus

PARAMETERS: Mapping[str, type[BaseModel]] = {
    "rollback": RollbackParameters,
    "http.check": HttpCheckParameters,
    "http.request": HttpRequestParameters,
    "command.run": CommandRunParameters,
    "command.check": CommandParameters,
    "prometheus.check": PrometheusCheckParameters,
    **KUBERNETES_PARAMETERS,
    "notify": NotifyParameters,
    "approve": ApproveParameters,
    "sleep": SleepParameters,
}


def build_actions(
    client: httpx.AsyncClient,
    cluster: KubernetesClient,
    programs: Programs | None = None,
    secrets: Mapping[str, str] | None = None,
    prometheus: Prometheus | None = None,
) -> Mapping[str, Action]:
    """client: from `responder.clients.http.new_client`; it follows no redirects. secrets: what `from_secret` may name.

    Making them sends nothing.
    """
    programs, secrets = programs or Programs(), secrets or {}
    return {
        "rollback": Rollback(),
        "http.check": HttpCheck(client, secrets),
        "http.request": HttpRequest(client, secrets),
        "command.run": CommandRun(programs, secrets),
        "command.check": CommandCheck(programs, secrets),
        "prometheus.check": PrometheusCheck(prometheus or NoPrometheus()),
        **kubernetes_actions(cluster),
        "notify": Notify(),
        "approve": Approve(),
        "sleep": Sleep(),
    }
