"""One YAML 1.2 file as plain data in which every value can be found again by line and column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from responder.rulebook.problem import Problem, Step

_LARGEST_BYTES = 4 * 1024 * 1024
_MOST_VALUES = 500_000  # after aliases are followed: an honest file of the largest size stays below, an alias bomb does not
_DEEPEST = 200  # open brackets, those inside text included
_BRACKET = re.compile(r"[\[\]{}]")
_TAG = "tag:yaml.org,2002:"
_IMPLICIT_TAGS = {_TAG + name for name in ("null", "bool", "int", "float", "timestamp", "value")}

Data = object

# The core schema of YAML 1.2, §10.3.2: `yes` and `010` are what they look like.
_WORDS: dict[str, Data] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"(?P<sign>[-+]?)\.(?P<word>inf|Inf|INF)|\.nan|\.NaN|\.NAN")


@dataclass(frozen=True, slots=True)
class Source:
    """file: as shown to people. data: mappings, lists, text, numbers, booleans and None."""

    file: str
    content: bytes
    data: Data
    root: Node | None

    def problem(self, path: Sequence[Step], where: str, what: str, hint: str = "", *, at_key: bool = False) -> Problem:
        line, column = self.position(path, at_key=at_key)
        return Problem(self.file, line, column, where, what, hint)

    def position(self, path: Sequence[Step], *, at_key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `path` (or of its key), else of the deepest part of the path that exists."""
        node, mark = self.root, None
        for step in path:
            key, value = _child(node, step)
            if value is None:
                continue  # a step that only the schema knows, such as the branch of a union
            empty = isinstance(value, ScalarNode) and value.style is None and value.value == ""  # YAML puts it anywhere
            node, mark = value, key if at_key or empty else None
        mark = mark or node
        return (mark.start_mark.line + 1, mark.start_mark.column + 1) if mark is not None else (1, 1)

    def value(self, path: Sequence[Step]) -> Data:
        """The value at `path`, None when there is none."""
        data = self.data
        for step in path:
            if isinstance(data, dict):
                data = data.get(step)
            elif isinstance(data, list) and isinstance(step, int) and step < len(data):
                data = data[step]
            else:
                return None
        return data

    def existing(self, path: Sequence[Step]) -> tuple[Step, ...]:
        """The steps of `path` that lead through the file."""
        node, found = self.root, []
        for step in path:
            _, value = _child(node, step)
            if value is not None:
                node = value
                found.append(step)
        return tuple(found)


def _child(node: Node | None, step: Step) -> tuple[Node | None, Node | None]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key, value
    elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None, None


class _UnreadableError(Exception):
    """The file is no YAML that could be looked into further."""

    def __init__(self, what: str, hint: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(what)
        self.what, self.hint, self.line, self.column = what, hint, line, column


def read_source(path: Path) -> tuple[Source, list[Problem]]:
    """Read one file. When it can't be read as YAML at all, the source's data is None and the problems say why."""
    try:
        content = _read_bounded(path)
    except _UnreadableError as error:
        return _unreadable(str(path), b"", error)
    return parse_source(str(path), content)


def parse_source(file: str, content: bytes) -> tuple[Source, list[Problem]]:
    """Like read_source, for content that is at hand."""
    reader = _NodeReader(file)
    try:
        root = _compose(_decode(content))
        data = reader.read(root, ())
    except RecursionError:
        return _unreadable(file, content, _UnreadableError("nested too deeply"))
    except _UnreadableError as error:
        return _unreadable(file, content, error)
    return Source(file, content, data, root), reader.problems


def _unreadable(file: str, content: bytes, error: _UnreadableError) -> tuple[Source, list[Problem]]:
    return Source(file, content, None, None), [Problem(file, error.line, error.column, "", error.what, error.hint)]


def _read_bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise _UnreadableError(f"can't be read: {error.strerror or error}") from error
    if len(content) > _LARGEST_BYTES:
        raise _UnreadableError(f"larger than {_LARGEST_BYTES // 1024 // 1024} MiB", "split the rulebook into several files")
    return content


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8-sig", "replace")) + 1
        what = f"not UTF-8: byte 0x{content[error.start]:02x}"
        raise _UnreadableError(what, "save the file as UTF-8", before.count(b"\n") + 1, column) from error


def _check_nesting(text: str) -> None:
    """Refuse hopeless nesting before the YAML library takes its time over it."""
    depth = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > _DEEPEST:
            before = text[: bracket.start()].split("\n")
            raise _UnreadableError("nested too deeply", "a `]` or `}` may be missing", len(before), len(before[-1]) + 1)


def _compose(text: str) -> Node:
    _check_nesting(text)
    try:
        root: Node | None = _yaml().compose(text)
    except ReaderError as error:
        lines = text[: error.position].split("\n")
        what = f"character U+{ord(text[error.position]):04X} is not allowed in YAML"
        raise _UnreadableError(what, "", len(lines), len(lines[-1]) + 1) from error
    except MarkedYAMLError as error:
        raise _syntax_error(error) from error
    except YAMLError as error:
        raise _UnreadableError(f"not YAML: {error}") from error
    if root is None:
        raise _UnreadableError("the file is empty", "a rulebook begins with `version: 1`")
    return root


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False
    return yaml


_SYNTAX_HINTS = (
    ("'\\t'", "YAML is indented with spaces, not tabs"),
    ("single document", "one rulebook per file: split it at `---`"),
    ("mapping values are not allowed", "check the indentation, or put text with `: ` in quotes"),
    ("undefined alias", "an alias `*name` needs an anchor `&name` before it; put text that begins with `*` in quotes"),
    ("that cannot start any token", "put the text in quotes"),
    ("flow sequence", "a `]` or a comma is missing"),
    ("flow mapping", "a `}` or a comma is missing"),
    ("quoted scalar", "the closing quote is missing"),
    ("block end", "check the indentation"),
    ("could not find expected ':'", "check the indentation, or a `:` is missing"),
)


def _syntax_error(error: MarkedYAMLError) -> _UnreadableError:
    parts = [str(part) for part in (error.context, error.problem) if part]
    text = ", ".join(part.strip() for part in parts)
    # An unclosed quote or bracket is found at the end of the file, but people look for its beginning.
    unclosed = "end of stream" in text or "stream end" in text
    mark = (error.context_mark if unclosed else None) or error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    hint = next((hint for part, hint in _SYNTAX_HINTS if part in text), "")
    return _UnreadableError(f"not YAML: {text}", hint, line, column)


class _NodeReader:
    """Turns nodes into data; collects what YAML allows but a rulebook does not."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._values = 0

    def read(self, node: Node, above: tuple[int, ...]) -> Data:
        """above: identities of the nodes this one stands in, to notice an alias to one of them."""
        self._values += 1
        if self._values > _MOST_VALUES:
            raise _UnreadableError(f"more than {_MOST_VALUES} values once its aliases are followed")
        if id(node) in above:
            self._complain(node, "an alias refers to the value it stands in")
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._complain(node, f"the tag {node.tag} is not supported", "remove it")
        inside = (*above, id(node))
        if isinstance(node, SequenceNode):
            return [self.read(item, inside) for item in node.value]
        return self._mapping(node, inside)

    def _mapping(self, node: Node, inside: tuple[int, ...]) -> dict[Data, Data]:
        data: dict[Data, Data] = {}
        first: dict[Data, Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._complain(node, "a key must be plain text", "put a template such as `{{ labels.pod }}` in quotes")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                self._complain(key_node, "merge keys (`<<`) are not supported", "repeat the keys; plain aliases `*name` do work")
                continue
            if key in first:
                line = first[key].start_mark.line + 1
                self._complain(key_node, f"duplicate key `{key}`", f"first on line {line}")
                continue
            first[key] = key_node
            data[key] = self.read(value_node, inside)
        return data

    def _scalar(self, node: ScalarNode) -> Data:
        if node.tag == _TAG + "str":
            return node.value
        if node.tag not in _IMPLICIT_TAGS:
            self._complain(node, f"the tag {node.tag} is not supported", "remove it")
            return node.value
        return _resolve(node.value) if node.style is None else node.value

    def _complain(self, node: Node, what: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, node.start_mark.column + 1, "", what, hint))


def _resolve(text: str) -> Data:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL_FLOAT.fullmatch(text):
        return float(special["sign"] + "inf") if special["word"] else float("nan")
    return text
