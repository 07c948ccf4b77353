"""Requests against the protovalidate rules in their protos."""

import protovalidate
from google.protobuf.message import Message

_validator = protovalidate.Validator()


def violations_of(message: Message) -> list[tuple[str, str]]:
    """The fields of `message` that break a rule, as paths (`alias.routes[0].weight`), each with the rule in words."""
    return [(_path(violation.proto), violation.proto.message) for violation in _validator.collect_violations(message)]


def _path(violation: protovalidate.ViolationPb) -> str:
    parts: list[str] = []
    for element in violation.field.elements if violation.field else ():
        subscript = element.subscript
        where = "" if subscript is None else f"[{subscript.value}]"
        parts.append(f"{element.field_name}{where}")
    return ".".join(parts)
