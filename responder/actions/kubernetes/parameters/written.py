"""Names, labels and images as a rulebook may write them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from responder.actions.parameters import Argument
from responder.actions.templates import is_template

_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_LABEL = r"([A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
IMAGE = r"[a-z0-9]([\w.:/-]*[\w])?(@sha256:[0-9a-f]{64})?"


def _literal(what: str, pattern: str) -> AfterValidator:
    def check(value: str) -> str:
        if is_template(value):
            raise ValueError("must be written out: a template could let an alert choose what is changed")
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value[:80]!r} is not {what}")
        return value

    return AfterValidator(check)


def _pattern(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_ENV_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
Name = Annotated[str, _literal("a name of a Kubernetes object", _NAME), _pattern(_NAME)]
Namespace = Annotated[str, _literal("a name of a namespace", _DNS_LABEL), _pattern(_DNS_LABEL)]
LabelKey = Annotated[str, _literal("a label key", _LABEL), _pattern(_LABEL)]
LabelValue = Annotated[str, _literal("a label value", _LABEL_VALUE), _pattern(_LABEL_VALUE)]
ContainerName = Annotated[str, _literal("a name of a container", _DNS_LABEL), _pattern(_DNS_LABEL)]
EnvName = Annotated[str, _literal("a name of an environment variable", _ENV_NAME), _pattern(_ENV_NAME)]


def _check_image(value: str) -> str:
    """Only what follows the repository may be a template: an input or a version may choose a tag, nobody chooses what is run."""
    head, brace, _ = value.partition("{{")
    if (
        "{%" in value
        or (brace and not re.fullmatch(r"[a-z0-9][\w.:/-]*[:@][\w.:-]*", head))
        or (brace and "/" in value[len(head) :])
    ):
        raise ValueError("only the tag or digest may be a template: registry.example.com/shop/app:{{ inputs.version }}")
    if not brace and not re.fullmatch(IMAGE, value):
        raise ValueError(f"{value[:80]!r} is not an image")
    return value


Image = Annotated[Argument, AfterValidator(_check_image)]
