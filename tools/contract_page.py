"""Writes docs/contract.md from the contract's comments, as the descriptor set has them; `tools/docs.py` calls it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

_DESCRIPTORS: Final = Path(__file__).parents[1] / "generated/python/engagement/v1/descriptors.binpb"
_PACKAGE: Final = "engagement.v1"

# The numbers of these fields in descriptor.proto, of which the paths of comments are made.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_MEMBER: Final = 2

_HEAD: Final = """# The contract

`engagement.v1`, made from the comments in [protos/](../protos/engagement/v1/sequence_step_service.proto) by `make generate`.
The server says the same by reflection. [errors.md](errors.md) has the codes and warnings, [versioning.md](versioning.md) tells
what may change, and [clients.md](clients.md) how to call it well.
"""


def page() -> str:
    """The page, in Markdown."""
    described = FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes())
    files = [file for file in described.file if file.package == _PACKAGE]
    parts = [_HEAD]
    for file in sorted(files, key=lambda file: not file.service):
        comments = _Comments(file)
        for number, service in enumerate(file.service):
            parts += _service(service, comments, (_SERVICE, number))
        for number, message in enumerate(file.message_type):
            parts += _message(message, comments, (_MESSAGE, number))
        for number, enum in enumerate(file.enum_type):
            parts += _enum(enum, comments, (_ENUM, number))
    return "\n".join(parts)


class _Comments:
    """The comments of a file by what they stand before."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._texts = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}

    def text(self, path: Sequence[int]) -> str:
        """A comment as Markdown, with links to the pages that it names."""
        lines = [line.removeprefix(" ") for line in self._texts[tuple(path)].rstrip("\n").split("\n")]
        lines = [line.removeprefix("  ") if line.startswith("  - ") else line for line in lines]
        return re.sub(r"docs/(\w+)\.md", r"[\1.md](\1.md)", "\n".join(lines))

    def cell(self, path: Sequence[int]) -> str:
        """A comment as a cell of a table."""
        return " ".join(self.text(path).split()).replace("|", "\\|")


def _service(service: ServiceDescriptorProto, comments: _Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"## {service.name}\n\n{comments.text(path)}\n"
    for number, method in enumerate(service.method):
        asked, answered = _link(method.input_type), _link(method.output_type)
        yield f"### {method.name}\n\nTakes {asked}, returns {answered}.\n"
        yield f"{comments.text((*path, _MEMBER, number))}\n"


def _message(message: DescriptorProto, comments: _Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"## {message.name}\n\n{comments.text(path)}\n"
    rows = ["| Field | Type | Number | What |", "| --- | --- | --- | --- |"]
    entries = {f".{_PACKAGE}.{message.name}.{nested.name}": nested for nested in message.nested_type}
    for number, field in enumerate(message.field):
        name = f"~~`{field.name}`~~" if field.options.deprecated else f"`{field.name}`"
        what = comments.cell((*path, _MEMBER, number))
        rows.append(f"| {name} | {_type(field, entries)} | {field.number} | {what} |")
    yield "\n".join(rows) + "\n"


def _enum(enum: EnumDescriptorProto, comments: _Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"## {enum.name}\n\n{comments.text(path)}\n"
    rows = ["| Value | Number | What |", "| --- | --- | --- |"]
    for number, value in enumerate(enum.value):
        rows.append(f"| `{value.name}` | {value.number} | {comments.cell((*path, _MEMBER, number))} |")
    yield "\n".join(rows) + "\n"


def _type(field: FieldDescriptorProto, entries: dict[str, DescriptorProto]) -> str:
    if field.type_name in entries:
        key, value = entries[field.type_name].field
        return f"map of {_type(key, entries)} to {_type(value, entries)}"
    plain = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    shown = _link(field.type_name) if field.type_name else plain
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {shown}"
    return f"optional {shown}" if field.proto3_optional else shown


def _link(type_name: str) -> str:
    """A type's name; those of the contract lead to their place on the page."""
    package, _, name = type_name.removeprefix(".").rpartition(".")
    return f"[{name}](#{name.lower()})" if package == _PACKAGE else f"`{package}.{name}`"
