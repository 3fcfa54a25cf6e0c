"""Lists of tokens become texts by the space's own tokenizer, or the request is told why not."""

from __future__ import annotations

from collections.abc import Sequence

from ..plugins.spec import TEXT
from ..spaces.sides import Role
from .asking import Part, Wanted
from .faults import RequestError
from .gateway import Gateway
from .service import Service


async def decode_tokens(
    gateway: Gateway, service: Service, tokens: Sequence[Sequence[int]], role: Role
) -> list[Wanted]:
    """Make texts of lists of tokens; RequestError where the server doesn't take them."""
    raise RequestError(
        "tokens aren't taken, since nothing says which tokenizer made them",
        status=400,
        code="tokens",
        param="input",
        remedy="send strings; LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False",
    )


__all__ = ["TEXT", "Part", "decode_tokens"]
