"""Tools by which agents search an index and classify items, over the Model Context Protocol (MCP).

Each tool answers with a structured result, or an error in words that say what to do.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ParamSpec, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from .. import __version__
from ..arguments.plain import plain
from ..embeddings.surrogates import escape_surrogates, unescape_surrogates
from ..errors import EncoderError, InputError, MmencodeError
from ..index import Hit, RankedHit
from ..inputs.showing import show_item, shows
from ..pages.previews import make_thumbnail
from ..plugins.spec import TEXT
from ..zeroshot import Classification
from .agent_results import Classes, Classified, Description, LabelScore, Match, Matches, Row, Shown
from .handed import Folders, Handed, take_item
from .shelf import Shelf, rows_of

MOST_MATCHES, MOST_LABELS, MOST_ITEMS, MOST_PREVIEWS = 100, 1000, 64, 12
PREVIEW = (256, 256)
INSTRUCTIONS = """An index of {rows}, compared by what they show, sound like or say. Search by text or by \
example; scores are cosine similarities, which rank one search's matches and are no probabilities."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Query = Annotated[str, Field(description="A text that describes what to find.", min_length=1)]
Count = Annotated[int, Field(description="The number of matches.", ge=1, le=MOST_MATCHES)]
Among = Annotated[
    list[str] | None,
    Field(description="Search only rows of these modalities, such as image; all of them if omitted."),
]
Where = Annotated[
    str,
    Field(
        description="Search only rows that meet a condition in SQL over key, modality and metadata, such as "
        "year > 2000; describe_index lists the columns."
    ),
]
Previews = Annotated[
    bool, Field(description=f"Add small pictures of the first {MOST_PREVIEWS} rows that can be seen.")
]
Hybrid = Annotated[
    bool,
    Field(
        description="Look for the words of the query in the rows' full text as well, and fuse both rankings: "
        "for names, numbers and rare words. describe_index lists the columns that have full text."
    ),
]
Key = Annotated[str, Field(description="A key of the index, as a search gives it.")]
File = Annotated[
    str, Field(description="The path of a file below an allowed folder, which describe_index lists.")
]
Address = Annotated[str, Field(description="The bytes of a file: data:image/png;base64,...")]
Modality = Annotated[
    str, Field(description="The modality of a file or of bytes: image, audio or another of the space.")
]
Labels = Annotated[
    list[str], Field(description="The labels to choose among.", min_length=1, max_length=MOST_LABELS)
]
Templates = Annotated[
    list[str] | None,
    Field(description='Prompts such as "a photo of a {label}"; those of the space if omitted.'),
]
LabelCount = Annotated[int, Field(description="The number of labels for each item.", ge=1, le=MOST_LABELS)]
Keys = Annotated[list[str], Field(description="Keys of the index.", min_length=1, max_length=MOST_PREVIEWS)]


class Item(BaseModel):
    """One item to classify: exactly one of key, text, file and data_uri."""

    key: Key = ""
    text: Annotated[str, Field(description="The words of a text.")] = ""
    file: File = ""
    data_uri: Address = ""
    modality: Modality = ""


Items = Annotated[
    list[Item], Field(description="The items to classify.", min_length=1, max_length=MOST_ITEMS)
]


def tell_errors(tool: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Make a tool raise mmencode's errors, and those about arguments, as errors that the agent reads."""

    @functools.wraps(tool)
    def run(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            return tool(*arguments, **options)
        except (MmencodeError, ValueError, TypeError) as error:
            raise ToolError(escape_surrogates(str(error))) from error

    return run


class IndexTools:
    """The tools over one index; they may run in several threads at once."""

    def __init__(self, shelf: Shelf, folders: Folders) -> None:
        self.shelf = shelf
        self.folders = folders

    @tell_errors
    def describe_index(self) -> Description:
        """Describe the index: its space, its rows, the names of their metadata, and the limits."""
        index = self.shelf.index
        state = index.state()
        return Description(
            space=index.card.id,
            dim=index.card.dim,
            modalities=list(index.space.modalities),
            rows=dict(state.rows),
            failures=state.failures,
            columns=list(state.columns),
            full_text=list(state.full_text),
            many_vectors=state.layout.many,
            folders=[escape_surrogates(root) for root in self.folders.roots],
            limits={
                "matches": MOST_MATCHES,
                "labels": MOST_LABELS,
                "items": MOST_ITEMS,
                "previews": MOST_PREVIEWS,
                "bytes": self.shelf.limits.bytes,
                "characters": self.shelf.limits.characters,
            },
        )

    @tell_errors
    def search_by_text(
        self,
        query: Query,
        k: Count = 10,
        among: Among = None,
        where: Where = "",
        previews: Previews = False,
        hybrid: Hybrid = False,
    ) -> Annotated[CallToolResult, Matches]:
        """Find the rows of the index nearest to a text: pictures, recordings, texts, whatever it holds."""
        if not hybrid:
            return self._search(Handed(TEXT, query), k, among, where, previews)
        (hits,) = self.shelf.index.search_hybrid([query], k, among=among or None, where=where or None)
        return self._matches(hits, previews)

    @tell_errors
    def search_by_example(
        self,
        key: Key = "",
        file: File = "",
        data_uri: Address = "",
        modality: Modality = "",
        k: Count = 10,
        among: Among = None,
        where: Where = "",
        previews: Previews = False,
    ) -> Annotated[CallToolResult, Matches]:
        """Find the rows of the index nearest to an example: one of its rows, a file, or bytes.

        Pass exactly one of key, file and data_uri. A row isn't among its own matches.
        """
        _require_one(key=key, file=file, data_uri=data_uri)
        if not key:
            return self._search(self._take("", file, data_uri, modality), k, among, where, previews)
        own = unescape_surrogates(key)
        rows = self.shelf.find([own])
        hits = self.shelf.neighbours(rows.embeddings, k, among=among, where=where, without=own)
        return self._matches(hits, previews)

    @tell_errors
    def classify(
        self, labels: Labels, items: Items, templates: Templates = None, k: LabelCount = 5
    ) -> Classes:
        """Rank labels for items zero-shot; an item is a row of the index, a text, a file, or bytes.

        An item that can't be read has its error, and the others have their labels.
        """
        classifier = self.shelf.index.space.classifier(labels, templates or None)
        found: dict[int, Classified] = {}
        keys: dict[str, list[int]] = {}
        groups: dict[str, list[tuple[int, Any]]] = {}
        for place, item in enumerate(items):
            try:
                _require_one(key=item.key, text=item.text, file=item.file, data_uri=item.data_uri)
                if item.key:
                    keys.setdefault(unescape_surrogates(item.key), []).append(place)
                else:
                    given = self._take(item.text, item.file, item.data_uri, item.modality)
                    groups.setdefault(given.modality, []).append((place, given.item))
            except ValueError as error:
                found[place] = Classified(item=place, error=escape_surrogates(str(error)))
        for modality, pairs in groups.items():
            ranked = classifier.classify(modality, [item for _, item in pairs], on_error="skip")
            for row, position in enumerate(ranked.positions.tolist()):
                found[pairs[position][0]] = Classified(item=pairs[position][0], labels=_rank(ranked, row, k))
            for failed in ranked.errors:
                place = pairs[failed.index or 0][0]
                found[place] = Classified(item=place, error=escape_surrogates(str(failed.at(place))))
        rows = self.shelf.find(keys)
        for modality in dict.fromkeys(rows.modalities):
            chosen = rows_of(rows, modality)
            ranked = classifier.rank(chosen)
            for row, key in enumerate(chosen.keys or ()):
                labelled = _rank(ranked, row, k)
                found |= {place: Classified(item=place, labels=labelled) for place in keys[key]}
        return Classes(space=self.shelf.index.card.id, items=[found[place] for place in sorted(found)])

    @tell_errors
    def show(self, keys: Keys) -> Annotated[CallToolResult, Shown]:
        """Show rows of the index by their keys: metadata, words, and small pictures of what can be seen."""
        rows = self.shelf.find(map(unescape_surrogates, keys))
        pictures: list[str] = []
        shown = [
            Row(**self._describe(key, modality, metadata, pictures))
            for key, modality, metadata in zip(
                rows.embeddings.keys or (), rows.modalities, rows.metadata, strict=True
            )
        ]
        return _answer(Shown(rows=shown), pictures)

    def _take(self, text: str, file: str, address: str, modality: str) -> Handed:
        return take_item(
            text=text,
            file=unescape_surrogates(file),
            address=address,
            modality=modality,
            folders=self.folders,
            limits=self.shelf.limits,
        )

    def _search(
        self, given: Handed, k: int, among: Sequence[str] | None, where: str, previews: bool
    ) -> CallToolResult:
        (hits,) = self.shelf.index.search(
            given.modality, [given.item], k, among=among or None, where=where or None
        )
        return self._matches(hits, previews)

    def _matches(self, hits: Sequence[Hit] | Sequence[RankedHit], previews: bool) -> CallToolResult:
        pictures: list[str] = []
        found = [
            Match(
                score=hit.score,
                **(_describe_ranks(hit) if isinstance(hit, RankedHit) else {}),
                **self._describe(hit.key, hit.modality, hit.metadata, pictures if previews else None),
            )
            for hit in hits
        ]
        return _answer(Matches(space=self.shelf.index.card.id, matches=found), pictures)

    def _describe(self, key: str, modality: str, metadata: Any, pictures: list[str] | None) -> dict[str, Any]:
        """Describe a row, and add its picture to `pictures`, which has MOST_PREVIEWS at most."""
        facts = {"key": escape_surrogates(key), "modality": modality, "metadata": plain(metadata)}
        try:
            if shows(modality) == "words":
                words = escape_surrogates(show_item(modality, key, self.shelf.limits))
                facts["words"] = "" if words == facts["key"] else words
            elif shows(modality) == "picture" and pictures is not None and len(pictures) < MOST_PREVIEWS:
                drawn = make_thumbnail(key, PREVIEW, limits=self.shelf.limits, quality=70, modality=modality)
                facts["preview"] = len(pictures)
                pictures.append(drawn)
        except (InputError, EncoderError):  # a row whose file has gone is a match nevertheless
            pass
        return facts


def make_server(tools: IndexTools) -> MCPServer[Any]:
    """Make an MCP server of the tools, which changes nothing and reads only what they may."""
    kept, root = logging.root.handlers[:], logging.getLogger()
    server: MCPServer[Any] = MCPServer(
        "mmencode",
        title="mmencode",
        version=__version__,
        instructions=INSTRUCTIONS.format(rows=_count_rows(tools)),
        log_level="WARNING",
    )
    for handler in [handler for handler in root.handlers if handler not in kept]:
        root.removeHandler(handler)  # MCPServer sets up the root logger, which belongs to the process
    reading = ToolAnnotations(
        read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    for tool in (
        tools.describe_index,
        tools.search_by_text,
        tools.search_by_example,
        tools.classify,
        tools.show,
    ):
        server.add_tool(tool, annotations=reading)
    return server


def _describe_ranks(hit: RankedHit) -> dict[str, Any]:
    return {"vector_rank": hit.vector_rank, "text_rank": hit.text_rank, "fused": hit.fused}


def _count_rows(tools: IndexTools) -> str:
    rows = tools.shelf.index.state().rows
    return ", ".join(f"{count} rows of modality {modality}" for modality, count in rows.items()) or "no rows"


def _require_one(**given: str) -> None:
    """Raise ValueError unless exactly one of these is given."""
    if sum(map(bool, given.values())) != 1:
        raise ValueError(f"pass exactly one of {', '.join(given)}")


def _rank(ranked: Classification, row: int, k: int) -> list[LabelScore]:
    """List the `k` best labels of a row, with probabilities where there are any."""
    chances = ranked.probabilities()[row].tolist() if ranked.has_probabilities else None
    places = {label: place for place, label in enumerate(ranked.labels)}
    return [
        LabelScore(label=label, score=score, probability=None if chances is None else chances[places[label]])
        for label, score in ranked.top(k)[row]
    ]


def _answer(result: BaseModel, pictures: Sequence[str]) -> CallToolResult:
    """Make an answer of a structured result, also as text for clients that read only this, and pictures."""
    content: list[Any] = [TextContent(type="text", text=result.model_dump_json())]
    content += [
        ImageContent(type="image", data=picture.partition(",")[2], mime_type="image/jpeg")
        for picture in pictures
    ]
    return CallToolResult(content=content, structured_content=result.model_dump(mode="json"))
