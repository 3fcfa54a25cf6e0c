"""Items as clients of OpenAI's protocol write them: strings, tokens, and parts as other servers have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...plugins.modalities import find_modality
from ...plugins.spec import AUDIO, IMAGE, TEXT
from ...spaces.sides import Role
from ..asking import Part, Wanted, is_inline, media
from ..faults import RequestError

_URLS = {"image_url": IMAGE, "audio_url": AUDIO, "video_url": "video"}
_JINA = {"url": IMAGE, "bytes": IMAGE}  # names that its clients have for pictures
_FORMATS = {"wav", "mp3", "flac", "ogg", "opus", "m4a", "webm", "aac"}


def bad_input(fact: str, place: str = "input", remedy: str = "") -> RequestError:
    """Make the error of an input of another shape than any client writes."""
    return RequestError(fact, status=422, code="invalid_input", param=place, remedy=remedy)


def read_input(given: Any, modality: str, role: Role) -> list[Wanted]:
    """Read the field `input` into items.

    A string or a list of them are items of the modality, as infinity has it. An object such as
    {"text": ..., "image": ...} is an item with these parts (SGLang, Jina). Objects with a "type" are together
    the parts of one item (llama.cpp); lists of them are several items. Raises RequestError, which names the
    place, for anything else, such as tokens.
    """
    if isinstance(given, str):
        return [Wanted((Part(modality, given),), role)]
    if not isinstance(given, list) or not given:
        raise bad_input("input is neither a string nor a list of items, or it is empty")
    first = given[0]
    tokens = first if isinstance(first, list) and first else given
    if all(type(each) is int for each in tokens):
        raise RequestError(
            "tokens aren't taken, since nothing says which tokenizer made them",
            status=400,
            code="tokens",
            param="input",
            remedy="send strings; LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False",
        )
    if isinstance(first, dict) and "type" in first:
        return [Wanted(read_parts(given, "input"), role)]
    return [_read_item(each, modality, role, f"input.{place}") for place, each in enumerate(given)]


def read_messages(given: Sequence[Any], role: Role) -> Wanted:
    """Read the field `messages` of vLLM and SGLang: one item, with the parts of a user's message.

    Raises RequestError for several messages with content, and for those of a system: an instruction is a
    setting of the server.
    """
    found: list[tuple[Part, ...]] = []
    for place, message in enumerate(given):
        where = f"messages.{place}"
        if not isinstance(message, dict):
            raise bad_input(f"{where} is no object", "messages")
        content = message.get("content")
        if content in (None, "", []) or _is_blank(content):
            continue
        if message.get("role") != "user":
            raise bad_input(
                f"{where} isn't a user's, and only theirs are embedded",
                "messages",
                "leave it out; the words around queries are set by --instruction when the server starts",
            )
        words = isinstance(content, str)
        found.append((Part(TEXT, content),) if words else read_parts(content, f"{where}.content"))
    if len(found) != 1:
        raise bad_input(
            f"messages has {len(found)} messages of a user with content, and one is embedded",
            "messages",
            "ask once for each item",
        )
    return Wanted(found[0], role)


def read_parts(given: Any, where: str) -> tuple[Part, ...]:
    """Read a list of typed parts of one item; RequestError, which names the place, for another shape."""
    if not isinstance(given, list) or not given:
        raise bad_input(f"{where} is no list of parts", where)
    return tuple(_read_part(part, f"{where}.{place}") for place, part in enumerate(given))


def _read_part(part: Any, where: str) -> Part:
    kind = str(part.get("type")) if isinstance(part, dict) else ""
    if kind in ("text", "input_text"):
        return Part(TEXT, _string(part.get("text"), f"{where}.text"))
    if kind in _URLS:
        return Part(_URLS[kind], _url(part.get(kind), f"{where}.{kind}"))
    if kind in ("image", "input_image"):
        return Part(IMAGE, _url(part.get("image_url", part.get("image")), f"{where}.image_url"))
    if kind == "input_audio":
        sound = part.get("input_audio")
        if not isinstance(sound, dict) or sound.get("format", "wav") not in _FORMATS:
            raise bad_input(f"{where}.input_audio is no object with data and a format that is known", where)
        return Part(AUDIO, _string(sound.get("data"), f"{where}.input_audio.data"), "base64")
    raise bad_input(
        f"{where} is no part of a known type",
        where,
        "type is text, image_url, audio_url, input_audio or video_url",
    )


def _read_item(item: Any, modality: str, role: Role, where: str) -> Wanted:
    if isinstance(item, str):
        return Wanted((Part(modality, item),), role)
    if isinstance(item, list):
        return Wanted(read_parts(item, where), role)
    if isinstance(item, dict) and item and "type" not in item:
        given = {name: value for name, value in item.items() if value is not None}
        given = {_JINA.get(name, name): value for name, value in given.items()}
        if any(find_modality(name) is None for name in given):
            raise bad_input(f"{where} has a part of no modality that is known here", where)
        if given:
            return Wanted(tuple(_read_named(*each, where) for each in given.items()), role)
    raise bad_input(f"{where} is neither a string nor an object with the parts of an item", where)


def _read_named(name: str, value: Any, where: str) -> Part:
    """Read one part of an object, whose key is its modality; Jina's clients write bare base64, too."""
    place = f"{where}.{name}"
    return media(name, _string(value, place) if is_inline(name) else _url(value, place))


def _is_blank(content: Any) -> bool:
    """Whether all that a message says are empty words, as templates put them behind the user's."""
    return isinstance(content, list) and all(
        isinstance(part, Mapping) and part.get("type") == "text" and part.get("text") == ""
        for part in content
    )


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise bad_input(f"{where} is no string", where)
    return value


def _url(value: Any, where: str) -> str:
    return _string(value.get("url") if isinstance(value, dict) else value, where)
