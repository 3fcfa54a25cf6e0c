"""One request's items become vectors of one space and width: the steps that all protocols share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from ..embeddings.array_types import Vectors
from ..plugins.spec import TEXT
from ..spaces.sides import Role
from ..spaces.space import Space
from .asking import Part, Wanted, choose_modalities
from .exchange import Exchange
from .faults import RequestError
from .gateway import Gateway, Look
from .service import Answer, Service
from .widths import cut, id_of_width, require_width

MOST = 2**16  # items of a request whatever the server's own limit, so that longer lists aren't even read


@dataclass(frozen=True, eq=False, slots=True)
class Embedded:
    """The vectors of a request's items in order, float32 `[dim]`, or `[t, dim]` where the space has many.

    `space` is the id of the space that they are of, `model` its name, and `answers` have each item's cost.
    """

    vectors: list[Vectors]
    space: str
    model: str
    answers: list[Answer]


async def embed_items(
    gateway: Gateway,
    request: Request,
    service: Service,
    wanted: Sequence[Wanted],
    *,
    dim: int | None = None,
    expected: str = "",
    single: bool = True,
    look: Look | None = None,
) -> Embedded:
    """Embed all items of a request, cut to `dim` numbers where it is given.

    `single` says that the protocol has no place for many vectors of an item, and `expected` the id of the
    space that the request expects. Raises RequestError, which lists the items that can't be encoded.
    """
    space = service.space
    if single and any_has_many(space, wanted):
        raise RequestError(
            "the space has many vectors for each item, and this protocol has one",
            status=400,
            code="many_vectors",
            remedy="ask /v1/embeddings for the vectors, or /rerank and /score for scores by MaxSim",
        )
    if dim is not None:
        await gateway.run(require_width, space, _kinds(space, wanted), dim)
    gateway.require_space(request, id_of_width(gateway.ids[space.name], space.dim, dim), expected=expected)
    answers = await gateway.answer(request, service, wanted, look=look)
    gateway.require_all(answers)
    vectors = [answer.vector for answer in answers if answer.vector is not None]
    found = Exchange.of(request.scope).space
    if dim is not None and vectors and vectors[0].shape[-1] != dim:
        vectors = await gateway.run(cut, vectors, gateway.ids[space.name], dim)
    return Embedded(vectors, found, space.name, answers)


def any_has_many(space: Space, wanted: Sequence[Wanted]) -> bool:
    """Whether the space has many vectors for one of these items, as it then has for all."""
    if all(spec.outputs != "many" for spec in space.specs.values()):
        return False
    return any(space.spec(space.key(*kind)).outputs == "many" for kind in _kinds(space, wanted))


def _kinds(space: Space, wanted: Sequence[Wanted]) -> list[tuple[str, Role]]:
    roles = [each.role for each in wanted]
    return list(dict.fromkeys(zip(choose_modalities(space, wanted), roles, strict=True)))


async def count_tokens(
    gateway: Gateway, service: Service, wanted: Sequence[Wanted], answers: Sequence[Answer]
) -> int:
    """Count the tokens of all texts of a request, as the space's encoder of texts counts them.

    Items of one text have been counted. Texts within other items are, in a thread, where the space encodes
    texts alone, too.
    """
    total, inside = 0, []
    for each, answer in zip(wanted, answers, strict=True):
        texts = [str(part.value) for part in each.parts if part.modality == TEXT]
        if len(each.parts) == 1:
            total += answer.cost if texts else 0
        else:
            inside += [(each.role, text) for text in texts]
    if inside and TEXT in service.modalities:
        total += await gateway.run(_count_inside, service.space, inside)
    return total


def _count_inside(space: Space, texts: Sequence[tuple[Role, str]]) -> int:
    encoders = {role: space.tower(space.key(TEXT, role)).encoder for role in dict(texts)}
    return sum(encoders[role].cost(encoders[role].preprocess(text)) for role, text in texts)


def texts_of(texts: Sequence[str], role: Role = "") -> list[Wanted]:
    """Make items of texts, each for one side."""
    return [Wanted((Part(TEXT, text),), role) for text in texts]


def require_cut_at_end(allowed: bool, param: str) -> None:
    """Raise RequestError for a request that says how to treat long texts in another way than encoders do."""
    if not allowed:
        raise RequestError(
            f"{param} asks for something else than to leave out the end of what is too long",
            status=422,
            code="unsupported_truncation",
            param=param,
            remedy="leave it out: encoders drop the end of texts that are longer than they were trained for",
        )
