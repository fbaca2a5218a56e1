"""What stands behind the engine's ports, by the settings: clusters, programs, and servers that are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from responder.actions.registry import build_actions
from responder.clients.alertmanager import AlertmanagerClient
from responder.clients.argocd import ArgoCdClient
from responder.clients.kubernetes import KubernetesClient
from responder.clients.programs import Programs
from responder.clients.prometheus import NoPrometheus, PrometheusClient
from responder.clients.ssh import SshOptions
from responder.ports import Action, AlertLists, Prometheus, Workloads
from responder.settings.service import Settings
from responder.targets.registry import build_workloads
from responder.wiring.clock import wall_clock


@dataclass(frozen=True, slots=True)
class Outside:
    """kubeconfig: the one in use when it is not the usual one."""

    settings: Settings
    http: httpx.AsyncClient
    cluster: KubernetesClient
    kubeconfig: str | None = None

    def workloads(self) -> Workloads:
        settings = self.settings
        environment = {**settings.of_the_cluster, **({"KUBECONFIG": self.kubeconfig} if self.kubeconfig else {})}
        token = text_of(settings.argocd_token)
        argocd = ArgoCdClient(settings.argocd_url, token, self.http) if settings.argocd_url and token else None
        return build_workloads(self.cluster, wall_clock, self._programs(), argocd=argocd, cluster_environment=environment)

    def actions(self, prometheus: Prometheus) -> Mapping[str, Action]:
        return build_actions(self.http, self.cluster, self._programs(), self.settings.named_secrets, prometheus)

    def prometheus(self) -> Prometheus:
        url = self.settings.prometheus_url
        if url is None:
            return NoPrometheus()
        return PrometheusClient(url.get_secret_value(), self.http, token=text_of(self.settings.prometheus_token))

    def alert_lists(self) -> AlertLists | None:
        """None: no Alertmanager is asked a second time."""
        urls = self.settings.alertmanager_url
        return AlertmanagerClient(urls, self.http, token=text_of(self.settings.alertmanager_token)) if urls else None

    def _programs(self) -> Programs:
        """What runs other programs, here and over SSH."""
        settings = self.settings
        ssh = SshOptions(settings.ssh_key_file, settings.ssh_known_hosts_file, settings.ssh_config_file)
        return Programs(settings.inherited, ssh, settings.allowed_programs)


def text_of(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
