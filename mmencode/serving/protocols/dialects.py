"""Jina's and Voyage's clients ask /v1/embeddings as OpenAI's do, with fields of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...spaces.sides import Role
from ..embedding import require_cut_at_end
from ..faults import RequestError
from ..numbers import NumberKind

JinaKind = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]
_TASKS: dict[str, Role] = {  # of Jina's models, each with the side that it means
    **dict.fromkeys(("text-matching", "classification", "clustering", "separation"), ""),
    **dict.fromkeys(("retrieval", "code"), ""),
    **dict.fromkeys(("retrieval.query", "code.query", "nl2code.query", "qa.query"), "query"),
    **dict.fromkeys(("code2code.query", "code2nl.query", "code2completion.query"), "query"),
    **dict.fromkeys(("retrieval.passage", "code.passage", "nl2code.passage", "qa.passage"), "document"),
    **dict.fromkeys(("code2code.passage", "code2nl.passage", "code2completion.passage"), "document"),
}


class Dialect(BaseModel):
    """The fields that OpenAI's clients don't send."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    task: str | None = Field(
        None, description="The side (Jina).", json_schema_extra={"enum": [*_TASKS, None]}
    )
    embedding_type: JinaKind | list[JinaKind] | None = Field(None, description="The numbers (Jina).")
    encoding_type: JinaKind | None = Field(None, description="Another name of embedding_type.")
    normalized: bool | None = Field(None, description="Without a meaning: vectors have unit length (Jina).")
    late_chunking: bool | None = Field(
        None, description="Only false (Jina).", json_schema_extra={"enum": [False, None]}
    )
    truncate: bool | None = Field(None, description="Without a meaning: texts are cut at their end (Jina).")
    return_multivector: bool | None = Field(None, description="Whether the space has many vectors (Jina).")
    input_type: Literal["query", "document"] | None = Field(None, description="The side (Voyage).")
    truncation: bool | None = Field(
        None, description="Only true (Voyage).", json_schema_extra={"enum": [True, None]}
    )
    output_dtype: NumberKind | None = Field(None, description="The numbers (Voyage).")
    output_dimension: int | None = Field(None, ge=1, description="Another name of dimensions (Voyage).")


@dataclass(frozen=True, slots=True)
class Settled:
    """The meaning of a request's fields, whichever client's they are.

    role    the side that items are encoded for
    dim     the width of the vectors, None for all of it
    kind    their numbers, as base64 where `packed`
    many    whether the request asks for many vectors of each item; None where it doesn't say
    """

    role: Role
    dim: int | None
    kind: NumberKind
    packed: bool
    many: bool | None


def settle(asked: Dialect, role: Role, dimensions: int | None, encoding_format: str) -> Settled:
    """Settle what a request means; RequestError where two fields differ, or one asks for what isn't done."""
    if asked.task is not None and asked.task not in _TASKS:
        raise RequestError(
            "there is no such task",
            status=422,
            code="unknown_task",
            param="task",
            remedy=f"send one of {', '.join(_TASKS)}",
        )
    if asked.late_chunking:
        raise RequestError(
            "items are encoded by themselves, and not as chunks of one text",
            status=422,
            code="unsupported_field",
            param="late_chunking",
        )
    require_cut_at_end(asked.truncation is not False, "truncation")
    kind, packed = _numbers(asked)
    return Settled(
        role=_one("role", role, _TASKS.get(asked.task or ""), asked.input_type) or "",
        dim=_one("dimensions", dimensions, asked.output_dimension),
        kind=_one("output_dtype", asked.output_dtype, kind) or "float",
        packed=packed or encoding_format == "base64",
        many=asked.return_multivector,
    )


def _numbers(asked: Dialect) -> tuple[NumberKind | None, bool]:
    given = asked.embedding_type if asked.embedding_type is not None else asked.encoding_type
    kinds = given if isinstance(given, list) else [given]
    if len(kinds) != 1:
        raise RequestError(
            f"embedding_type has {len(kinds)} types, and one comes at a time",
            status=422,
            code="unsupported_field",
            param="embedding_type",
        )
    return (None, True) if kinds[0] == "base64" else (kinds[0], False)


def _one(param: str, *given: Any) -> Any:
    """Take the value that several fields agree on; "" and None say nothing."""
    said = {value for value in given if value not in ("", None)}
    if len(said) > 1:
        raise RequestError(
            f"fields that mean the same as {param} differ", status=422, code="contradiction", param=param
        )
    return said.pop() if said else None
