"""The tasks of Hugging Face's inference clients that vectors answer, told apart by path or by the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from ...embeddings.array_types import Vectors
from ...plugins.spec import AUDIO, IMAGE, TEXT
from ...spaces.sides import Role
from ...zeroshot import Classification
from ..asking import Part, Wanted, media
from ..embedding import MOST, embed_items, require_cut_at_end, texts_of
from ..faults import RequestError
from ..gateway import Gateway
from ..labelling import Labelling
from ..numbers import show
from ..routes import explain_validation, is_json, names_of, parse_body, write_json
from ..scoring import rank, score_items
from ..service import Service
from .bodies import ERRORS, PlainRoute

T = TypeVar("T", bound=BaseModel)

FEATURES, SIMILARITY = "feature-extraction", "sentence-similarity"
_CLASSIFIED = {
    "zero-shot-image-classification": IMAGE,
    "zero-shot-audio-classification": AUDIO,
    "zero-shot-classification": TEXT,
    "image-classification": IMAGE,
    "audio-classification": AUDIO,
}
TASKS = (FEATURES, SIMILARITY, *_CLASSIFIED)
_PROMPTS: dict[str, Role] = {"query": "query", "document": "document", "passage": "document"}


_INPUTS = {"type": "object", "required": ["inputs"], "properties": {"parameters": {"type": "object"}}}
_BODIES = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _INPUTS},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class BytesRoute(PlainRoute):
    """A route whose body is JSON, or the file of one item."""

    takes_json = False


class FeaturesRequest(BaseModel):
    """A request for vectors, as `InferenceClient.feature_extraction` sends it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    inputs: str | Annotated[list[str], Field(max_length=MOST)]
    normalize: bool | None = Field(None, description="Only true: vectors have unit length.")
    prompt_name: str | None = Field(None, description="query, document or passage: the side.")
    truncate: bool | None = Field(None, description="Only true.")
    truncation_direction: Literal["right", "Right", "left", "Left"] | None = Field(
        None, description="Only right."
    )
    dimensions: int | None = Field(None, ge=1, description="One of the widths that the model declares.")
    encoding_format: Literal["float", "base64"] | None = None
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")


class SimilarityInputs(BaseModel):
    """One text, and those that it is compared with."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    source_sentence: str
    sentences: list[str] = Field(min_length=1, max_length=MOST)


class SimilarityRequest(BaseModel):
    """Texts to compare, as `InferenceClient.sentence_similarity` sends them."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    inputs: SimilarityInputs
    parameters: dict[str, Any] | None = Field(None, description="Without a meaning here.")
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")


class LabelParameters(BaseModel):
    """Labels, and how to show their scores."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    candidate_labels: list[str] | None = Field(None, max_length=MOST)
    hypothesis_template: str | None = Field(None, description="With {} for the label.")
    top_k: int | None = Field(None, ge=1)
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    multi_label: bool | None = Field(None, description="Only false.")


class LabelRequest(BaseModel):
    """An item to classify: a text, or a file in base64."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    inputs: str
    parameters: LabelParameters | None = None
    space: str = Field("", description="The id of the space that the vectors must be of, or else 409.")


def routes(gateway: Gateway) -> APIRouter:
    """Make the routes of tasks: /pipeline/TASK, /models/MODEL/pipeline/TASK, / and /embed."""
    router = APIRouter(tags=["huggingface"])
    hub = Hub(gateway)

    async def run_task(task: str, request: Request, model: str | None = None) -> Response:
        """Answer a task: feature-extraction, sentence-similarity, or a classification by labels.

        Labels are in the body's `parameters.candidate_labels`, or for a body that is a file in the URL,
        `?label=dog&label=cat`: a space has no labels of its own.
        """
        return await hub.answer(task, request, model)

    async def tell_task(request: Request, model: str | None = None) -> Response:
        """Answer a task that the body tells: one with candidate labels is zero-shot image classification."""
        return await hub.answer("", request, model)

    async def embed(asked: FeaturesRequest, request: Request) -> Response:
        """Turn texts into a list of vectors, `[n, dim]`, as text-embeddings-inference does."""
        return await hub.embed(asked, request, gateway.choose(request))

    tasks, plain = APIRouter(route_class=BytesRoute), APIRouter(route_class=PlainRoute)
    for path in ("/pipeline/{task}", "/models/{model:path}/pipeline/{task}"):
        tasks.add_api_route(path, run_task, methods=["POST"], responses=ERRORS, openapi_extra=_BODIES)
    for path in ("/models/{model:path}", "/"):
        tasks.add_api_route(path, tell_task, methods=["POST"], responses=ERRORS, include_in_schema=False)
    plain.add_api_route("/embed", embed, methods=["POST"], responses=ERRORS)
    router.include_router(tasks)
    router.include_router(plain)
    return router


class Hub:
    """Answers the tasks of Hugging Face's clients by the vectors of a space."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._labelling = Labelling(gateway)

    async def answer(self, task: str, request: Request, model: str | None) -> Response:
        """Answer a request whose task its path says, or else its body."""
        if task and task not in TASKS:
            raise RequestError(
                "there is no such task here",
                status=404,
                code="unknown_task",
                remedy=f"it has {', '.join(TASKS)}",
            )
        service = self._gateway.choose(request, model)
        body: Any = None
        if is_json(request) or task in (FEATURES, SIMILARITY):
            await parse_body(request)
            body = await request.json()
        task = task or _tell_task(body)
        if task == FEATURES:
            return await self.embed(_check(FeaturesRequest, body), request, service)
        if task == SIMILARITY:
            return await self._compare(_check(SimilarityRequest, body), request, service)
        return await self._classify(_CLASSIFIED[task], body, request, service)

    async def embed(self, asked: FeaturesRequest, request: Request, service: Service) -> Response:
        """Turn texts into a list of vectors, `[n, dim]`, or `[n, t, dim]` where the space has many."""
        direction = (asked.truncation_direction or "right").lower()
        require_cut_at_end(asked.truncate is not False, "truncate")
        require_cut_at_end(direction == "right", "truncation_direction")
        if asked.normalize is False:
            raise RequestError(
                "vectors of a space have unit length", status=422, code="unsupported_field", param="normalize"
            )
        if asked.prompt_name is not None and asked.prompt_name not in _PROMPTS:
            raise RequestError(
                "there is no such prompt",
                status=422,
                code="unknown_prompt",
                param="prompt_name",
                remedy=f"send one of {', '.join(_PROMPTS)}, or leave it out",
            )
        texts = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
        if not texts:
            raise RequestError("inputs is empty", status=422, code="invalid_input", param="inputs")
        packed = asked.encoding_format == "base64"
        found = await embed_items(
            self._gateway,
            request,
            service,
            texts_of(texts, _PROMPTS.get(asked.prompt_name or "", "")),
            dim=asked.dimensions,
            expected=asked.space,
            single=packed,
        )
        write = partial(_write_vectors, found.vectors, packed)
        return await write_json(request, write, size=len(texts) * service.space.dim * 20)

    async def _compare(self, asked: SimilarityRequest, request: Request, service: Service) -> Response:
        queries, items = texts_of([asked.inputs.source_sentence], "query"), texts_of(asked.inputs.sentences)
        found = await score_items(self._gateway, request, service, queries, items, expected=asked.space)
        return Response(to_json(found.scores[0].tolist()), media_type="application/json")

    async def _classify(self, modality: str, body: Any, request: Request, service: Service) -> Response:
        if body is None:
            content = await request.body()
            if not content:
                raise RequestError("the body is empty", status=422, code="invalid_input", param="inputs")
            parameters, expected, part = LabelParameters.model_validate({}), "", Part(modality, content)
            if modality == TEXT:
                raise RequestError("a text comes as JSON, in `inputs`", status=415, code="content_type")
        else:
            asked = _check(LabelRequest, body)
            parameters = asked.parameters or LabelParameters.model_validate({})
            expected = asked.space
            part = Part(TEXT, asked.inputs) if modality == TEXT else media(modality, asked.inputs)
        labels = parameters.candidate_labels or request.query_params.getlist("label")
        _require_known(parameters, labels)
        self._gateway.require_space(request, self._gateway.ids[service.space.name], expected=expected)
        scored = await self._labelling.classify(
            request, service, Wanted((part,)), labels, parameters.hypothesis_template or ""
        )
        return Response(to_json(_show(scored, parameters)), media_type="application/json")


def _tell_task(body: Any) -> str:
    """Tell the task of a body at a path that doesn't say it."""
    if not isinstance(body, Mapping):
        raise RequestError(
            "nothing says what to do with this body",
            status=422,
            code="unknown_task",
            remedy="ask /pipeline/TASK: /pipeline/audio-classification?label=dog&label=rain, say",
        )
    parameters = body.get("parameters")
    if isinstance(parameters, Mapping) and "candidate_labels" in parameters:
        return "zero-shot-image-classification"
    return SIMILARITY if isinstance(body.get("inputs"), Mapping) else FEATURES


def _check(kind: type[T], body: Any) -> T:
    """Make a request of a parsed body; RequestValidationError, as FastAPI raises it, for another shape."""
    try:
        return kind.model_validate(body)
    except ValidationError as cause:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in cause.errors(include_url=False)]
        raise explain_validation(RequestValidationError(errors), names_of(kind)) from None


def _require_known(parameters: LabelParameters, labels: Sequence[str]) -> None:
    """Raise RequestError for a classification without labels, or of another kind than by a softmax."""
    if not labels:
        raise RequestError(
            "the request names no labels, and a space has none of its own",
            status=422,
            code="no_labels",
            param="parameters.candidate_labels",
            remedy="send them in the body, or for a file in the URL: ?label=dog&label=rain",
        )
    if parameters.multi_label:
        raise RequestError(
            "labels are compared with each other, and not each judged by itself",
            status=422,
            code="unsupported_field",
            param="parameters.multi_label",
        )


def _show(scored: Classification, parameters: LabelParameters) -> list[dict[str, Any]]:
    """List labels, best first: with probabilities where the space has a scale for them, or else cosines.

    Raises RequestError for a function that the space hasn't.
    """
    wanted, scoring = parameters.function_to_apply, scored.scoring
    scale = scoring.kind if scoring is not None and scored.has_probabilities else "none"
    if wanted not in (None, "none", scale):
        raise RequestError(
            f"the space has no {wanted} for these labels",
            status=422,
            code="unsupported_field",
            param="parameters.function_to_apply",
            remedy="leave it out, or send none, for cosines",
        )
    plain = "none" in (wanted, scale)
    scores = scored.scores[0] if plain else scored.probabilities()[0]
    places = rank(scored.scores[0], parameters.top_k)
    return [
        {
            "label": scored.labels[place],
            "score": float(scores[place]),
            "kind": "cosine" if plain else "probability",
        }
        for place, _ in places
    ]


def _write_vectors(vectors: Sequence[Vectors], packed: bool) -> bytes:
    return to_json(show(vectors, "float", packed=True) if packed else [each.tolist() for each in vectors])
