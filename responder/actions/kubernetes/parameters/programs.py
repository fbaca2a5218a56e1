"""Steps that run a program in the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from responder.actions.kubernetes.parameters.about import OnParameters, manifest_object
from responder.actions.kubernetes.parameters.written import ContainerName, EnvName
from responder.actions.parameters import Argument, Duration, Parameters
from responder.actions.templates import is_template


class JobParameters(Parameters):
    """Run a Job made from a manifest in the rulebook, wait for its end, keep the end of its log."""

    manifest: Mapping[str, Any] = Field(
        description="A batch/v1 Job; `metadata.name` may be left out, it is made from incident and step."
    )
    env: Mapping[EnvName, Argument] = Field({}, description="Given to every container: data that the manifest can't know.")
    ttl: Duration = Field(timedelta(days=1), description="How long the ended Job is kept.")
    log_lines: int = Field(40, ge=0, le=1000, strict=True, description="Lines of its log that are shown.")
    changes: bool = Field(True, description="It changes something, as a check (`false`) does not.")
    destroys_data: bool = Field(False, description="It destroys data: a backup step and a person's word are demanded.")
    elsewhere: bool = Field(False, description="The namespace is none of the declared targets': on purpose.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        named = manifest_object({"apiVersion": "batch/v1", **self.manifest}, elsewhere=self.elsewhere, default_name="job")
        if named.kind != "Job":
            raise ValueError(f"must be a Job, not a {named.kind}")
        return self

    def destroys(self) -> bool:
        return self.destroys_data


class ExecParameters(OnParameters):
    """Run a program in a ready pod of a target. No shell unless you write one."""

    argv: Annotated[tuple[str, ...], Field(min_length=1, description="Program and arguments, written out.")]
    container: ContainerName | None = None
    changes: bool = Field(True, description="It changes something. A mere check (`false`) may be run again after a crash.")
    silence: Duration = Field(timedelta(minutes=5), description="How long it may say nothing.")
    destroys_data: bool = Field(False, description="It destroys data: a backup step and a person's word are demanded.")

    @model_validator(mode="after")
    def _literal_arguments(self) -> Self:
        if any(is_template(argument) for argument in self.argv):
            raise ValueError("argv must be written out: a template could let an alert choose what is run")
        return self

    def destroys(self) -> bool:
        return self.destroys_data

    def only_looks(self) -> bool:
        return not self.changes
