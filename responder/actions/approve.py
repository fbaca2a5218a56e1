"""`approve`: in the midst of a plan, wait for a person's yes. The request is on record: a restart asks nobody twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from responder.actions.parameters import Duration, Parameters, Template
from responder.actions.templates import render
from responder.domain.rulebook import ApprovalTerms, Unanswered
from responder.ports import StepContext

_TERMS = ApprovalTerms()

People = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class ApproveParameters(Parameters):
    """Wait for a person's yes. The plan's deadline stands still meanwhile."""

    text: Template = Field("", description="What is asked, without a question mark; may hold templates. Default: to go on.")
    by: People = Field(_TERMS.by, description="People or roles whose word counts. Default: everybody who may approve.")
    within: Duration = Field(_TERMS.within, description="How long the request stands.")
    unanswered: Unanswered = Field(_TERMS.unanswered, description="refuse or proceed, when nobody answers in time.")

    def only_looks(self) -> bool:
        return True


class Approve:
    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        asked = ApproveParameters.read(parameters)
        question = render(asked.text, context.incident, context.target).strip().rstrip("?") or f"Go on with {context.step}"
        word = await context.ask(ApprovalTerms(asked.within, asked.by, asked.unanswered), question)
        if not word.by:
            return f"{word.reason or 'nobody answered'}; went on, as declared"
        return f"approved by {word.by}" + (f": {word.reason}" if word.reason else "")

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:  # noqa: ARG002 (the port)
        asked = ApproveParameters.read(parameters)
        return (
            f"would wait for {' or '.join(asked.by) or 'anybody who may approve'}; when nobody answers: {asked.unanswered.value}"
        )
