"""Places inside an object: JSON pointers in which `[name]` stands for the element of a list that has this name.

So a change still means the same container or variable when somebody has put another one before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from responder.errors import ConflictError

Object = dict[str, Any]


def path(*steps: str) -> str:
    """Steps are keys, list indexes, or `[name]`."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def steps_of(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def value_at(item: Any, pointer: str) -> Any:
    """None when there is nothing: for the API, null and absent are the same."""
    value = item
    for step in steps_of(pointer):
        value = _child(value, step)
    return value


def values_at(item: Any, pointers: Mapping[str, Any]) -> dict[str, Any]:
    return {pointer: value_at(item, pointer) for pointer in pointers}


def changes(item: Object, wanted: Mapping[str, Any]) -> list[Object]:
    """JSON patch operations that bring every place to its value (None: take it out). Works on a copy of the item."""
    working: Object = copied(item)
    operations: list[Object] = []
    for pointer, value in wanted.items():
        if value_at(working, pointer) != value:
            operations += _change(working, steps_of(pointer), value)
    return operations


def changed(item: Object, wanted: Mapping[str, Any]) -> Object:
    """A copy with these values."""
    working: Object = copied(item)
    for pointer, value in wanted.items():
        if value_at(working, pointer) != value:
            _change(working, steps_of(pointer), value)
    return working


def copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if isinstance(value, list) else value


def _change(working: Object, steps: list[str], value: Any) -> list[Object]:
    """Change the working copy, creating what is missing above, and say how."""
    operations: list[Object] = []
    holder: Any = working
    real: list[str] = []
    for above, step in _parents(steps):
        child = _child(holder, step)
        if child is None:
            child = [] if above.startswith("[") else {}
            operations.append({"op": "add", "path": path(*real, step), "value": copied(child)})
            holder[step] = child
        real.append(real_step(holder, step))
        holder = child
    last = steps[-1]
    if value is None:
        step = real_step(holder, last)
        operations.append({"op": "remove", "path": path(*real, step)})
        del holder[int(step) if isinstance(holder, list) else step]
    elif isinstance(holder, list):
        operations.append(_put_into_list(holder, real, last, value))
    else:
        operations.append({"op": "replace" if last in holder else "add", "path": path(*real, last), "value": value})
        holder[last] = copied(value)
    return operations


def _put_into_list(holder: list[Any], real: list[str], last: str, value: Any) -> Object:
    if _child(holder, last) is None:
        holder.append(copied(value))
        return {"op": "add", "path": path(*real, "-"), "value": value}
    index = real_step(holder, last)
    holder[int(index)] = copied(value)
    return {"op": "replace", "path": path(*real, index), "value": value}


def _parents(steps: list[str]) -> Iterator[tuple[str, str]]:
    """All steps but the last, each with the one after it."""
    for position, step in enumerate(steps[:-1]):
        yield steps[position + 1], step


def _child(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list):
        index = _index(value, step)
        return None if index is None else value[index]
    return None


def real_step(holder: Any, step: str) -> str:
    if isinstance(holder, dict):
        return step
    index = _index(holder, step) if isinstance(holder, list) else None
    if index is None:
        raise ConflictError(f"there is no {step} any more")
    return str(index)


def _index(holder: list[Any], step: str) -> int | None:
    if step.startswith("["):
        name = step[1:-1]
        return next((at for at, one in enumerate(holder) if isinstance(one, dict) and one.get("name") == name), None)
    return int(step) if step.isascii() and step.isdigit() and int(step) < len(holder) else None
