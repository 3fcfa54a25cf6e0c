"""Ask the installed plugins one by one, so that a broken one hurts no other.

pluggy's own loader stops at the first plugin that fails and drops the second of two equal names. Here each
entry point gets a plugin manager of its own, and its failure is kept in its own result.
"""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import NamedTuple

import pluggy
from packaging.utils import canonicalize_name

from .._version import __version__
from ..arguments.brief import Brief
from ..errors import MmencodeError, PluginError, SpecError
from ..errors.causes import describe_error, message_of, printable, quote
from .barring import VARIABLE, Choice, read_choice
from .hookspecs import PROJECT, Hooks
from .installed import PluginEntry, entry_of, find_entries
from .modality import ModalitySpec
from .requirements import admits, read_requirement
from .spec import EncoderSpec
from .undoing import undoing

MOST = 10_000  # encoders that one plugin may declare; a family has any number of members
KINDS = 100  # modalities that one plugin may declare
SLOW = 1.0  # seconds that importing a plugin may take before that is said
# Packages that take seconds to import, which a mere list of encoders must not wait for.
HEAVY = (
    *("torch", "torchvision", "torchaudio", "tensorflow", "jax", "transformers", "onnxruntime"),
    *("timm", "open_clip", "numpy", "scipy", "sklearn", "pandas", "PIL", "soundfile", "librosa"),
)
_ASKING: ContextVar[bool] = ContextVar("asking", default=False)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Plugin(Brief):
    """One entry point of an installed distribution, with its declarations or the error that it failed with.

    When the plugin fails, `specs` and `modalities` are empty, `error` is the reason, and `cause` that in
    words. `seconds` is the time that importing it took, and `notes` are hints for its author or its user. A
    plugin that is `barred` was never asked.
    """

    distribution: str
    version: str
    entry_point: str
    specs: tuple[EncoderSpec, ...] = ()
    error: Exception | None = None
    seconds: float = 0.0
    cause: str = ""
    notes: tuple[str, ...] = ()
    barred: bool = False
    modalities: tuple[ModalitySpec, ...] = ()

    def __post_init__(self) -> None:
        if self.error is not None and not self.cause:
            object.__setattr__(self, "cause", explain(self.error))

    @property
    def name(self) -> str:
        """The distribution's name as `canonicalize_name` writes it, by which it is known."""
        return canonicalize_name(self.distribution)


class Declared(NamedTuple):
    """The declarations of one plugin: its encoders and its modalities."""

    specs: tuple[EncoderSpec, ...]
    modalities: tuple[ModalitySpec, ...]


def discover(entries: Iterable[EntryPoint] | None = None) -> tuple[Plugin, ...]:
    """Ask every entry point of the group `mmencode`, or those given; never raises because of one of them.

    Raises PluginError when MMENCODE_PLUGINS, which bars distributions, can't be understood, or when a plugin
    asks for all plugins while it is asked itself.
    """
    if _ASKING.get():
        raise PluginError("it asks for the registry of plugins while it is asked what it declares")
    choice = read_choice()
    found = find_entries() if entries is None else [entry_of(entry) for entry in entries]
    plugins = [ask(entry, choice) for entry in found]
    return tuple(sorted(_distinct(plugins), key=lambda plugin: (plugin.distribution, plugin.entry_point)))


def explain(error: BaseException) -> str:
    """Put an error, with its remedy, on one line that is safe to print."""
    if isinstance(error, MmencodeError):
        with suppress(BaseException):  # a plugin may raise a type of its own
            lines = "; ".join(line.strip() for line in str(error)[:4000].splitlines())
            return f"{type(error).__name__}: {printable(lines, 1000)}"
    return describe_error(error)


def ask(entry: PluginEntry, choice: Choice | None = None) -> Plugin:
    """Import the module of one entry point, unless it is barred; keep its declarations or its failure."""
    plugin = Plugin(
        distribution=entry.distribution, version=entry.version, entry_point=printable(entry.value, 200)
    )
    if choice is not None and choice.bars(entry.distribution):
        return replace(plugin, barred=True, notes=(f"barred by {VARIABLE}",))
    if entry.group != PROJECT:
        misspelt = f"its group {quote(entry.group, 80)} isn't read: call it [project.entry-points.{PROJECT}]"
        return replace(plugin, notes=(misspelt,))
    notes: list[str] = []
    declared = Declared((), ())
    error: Exception | None = None
    loaded, start = _heavy(), time.perf_counter()
    asking = _ASKING.set(True)
    with undoing(notes):
        try:
            _require_usable(entry)
            declared = _ask_hooks(EntryPoint(entry.name, entry.value, PROJECT).load())
        except KeyboardInterrupt:
            raise
        except BaseException as cause:  # a panic out of Rust and pytest's Skipped are no Exceptions
            error = _without_frames(cause)
        finally:
            _ASKING.reset(asking)
    seconds = time.perf_counter() - start
    if heavy := _heavy() - loaded:
        notes.insert(0, f"slow: imports {', '.join(name for name in HEAVY if name in heavy)}")
    elif seconds > SLOW:
        notes.insert(0, f"slow: took {seconds:.1f} s")
    if error is None and not any(declared):
        notes.insert(0, "declares nothing")
    return replace(
        plugin,
        specs=declared.specs,
        modalities=declared.modalities,
        error=error,
        seconds=seconds,
        notes=tuple(notes),
    )


def _heavy() -> set[str]:
    return {name for name in HEAVY if name in sys.modules}


def _without_frames(cause: BaseException) -> Exception:
    """The exception without the variables that its frames hold, as an Exception, to be kept."""
    link: BaseException | None = cause
    for _ in range(100):  # the chain may be circular
        with suppress(Exception):
            traceback.clear_frames(link.__traceback__ if link else None)
            link = link and (link.__cause__ or link.__context__)
    if isinstance(cause, SystemExit):
        code = message_of(cause)
        return PluginError(f"it called sys.exit({'' if code == 'SystemExit' else code})")
    return cause if isinstance(cause, Exception) else PluginError(f"it raised {describe_error(cause)}")


def _require_usable(entry: PluginEntry) -> None:
    """Raise PluginError for an entry that can't be asked, or that requires another version of mmencode.

    pip only warns of such a version when it installs, and the plugin would misbehave hours later.
    """
    if entry.error is not None:
        raise entry.error
    for line in entry.requires:
        try:
            requirement = read_requirement(line)
        except Exception as cause:  # its marker may compare values that have no order
            if not re.match(rf"\s*{PROJECT}(?![\w.-])", line, re.IGNORECASE):
                continue
            raise PluginError(
                f"it requires {quote(line, 100)}, which can't be read: {describe_error(cause, 100)}",
                remedy="install another version of it",
            ) from cause
        if requirement is None or canonicalize_name(requirement.name) != PROJECT:
            continue
        if not admits(requirement.specifier, __version__):
            raise PluginError(
                f"it was built for mmencode{requirement.specifier}, and {__version__} is installed",
                remedy="install versions that fit: pip install --upgrade mmencode and the plugin",
            )


def _ask_hooks(plugin: object) -> Declared:
    """Call the hooks of one plugin; PluginError for a misspelt hook, SpecError for an invalid declaration."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    manager.register(plugin)
    manager.check_pending()  # raises for an unknown hook, which is a misspelt one
    if not manager.get_hookcallers(plugin):
        raise PluginError(
            "it implements no hook of mmencode",
            remedy="define mmencode_encoders() or mmencode_modalities(), decorated with @mmencode.hookimpl",
        )
    specs: list[EncoderSpec] = []
    for declared in manager.hook.mmencode_encoders():
        for spec in declared:
            if len(specs) == MOST:
                raise SpecError(f"it declares more than {MOST} encoders", remedy="declare a family, name/*")
            specs.append(_validate(spec))
    _require_distinct(specs)
    kinds: list[ModalitySpec] = []
    for declared in manager.hook.mmencode_modalities():
        for kind in declared:
            if len(kinds) == KINDS:
                raise SpecError(f"it declares more than {KINDS} modalities", remedy="declare those it reads")
            kinds.append(_validate_modality(kind))
    _require_distinct_modalities(kinds)
    return Declared(tuple(specs), tuple(kinds))


def _validate(spec: object) -> EncoderSpec:
    """Copy the spec, which checks all its fields again, since a plugin may have changed them."""
    if type(spec) is not EncoderSpec:
        raise SpecError(f"mmencode_encoders gave {quote(spec, 100)}", remedy="yield EncoderSpec objects only")
    if spec.variant:
        raise SpecError(
            f"EncoderSpec.variant is {quote(spec.variant, 100)}", remedy="leave it out: the registry sets it"
        )
    return replace(spec)


def _validate_modality(spec: object) -> ModalitySpec:
    """Copy the spec of a modality, which checks all its fields again."""
    if type(spec) is not ModalitySpec:
        raise SpecError(
            f"mmencode_modalities gave {quote(spec, 100)}", remedy="yield ModalitySpec objects only"
        )
    return replace(spec)


def _require_distinct_modalities(specs: Iterable[ModalitySpec]) -> None:
    """Raise SpecError for a modality that is declared twice."""
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise SpecError(f"modality {spec.name} is declared twice", remedy="declare it once")
        seen.add(spec.name)


def _require_distinct(specs: list[EncoderSpec]) -> None:
    """Raise SpecError for a name or a modality of a space that is declared twice, or an ambiguous alias."""
    seen: set[tuple[str, ...]] = set()
    spaces = {spec.space_name: spec.space_name for spec in specs}
    for spec in specs:
        for key in (("encoder", spec.name), ("space", spec.space_name, spec.key)):
            if key in seen:
                raise SpecError(f"{' '.join(key)} is declared twice", remedy="declare it once")
            seen.add(key)
        for alias in spec.aliases:
            if spaces.setdefault(alias, spec.space_name) != spec.space_name:
                raise SpecError(
                    f"alias {alias} is declared for the spaces {spaces[alias]} and {spec.space_name}",
                    remedy="declare it for one",
                )


def _distinct(plugins: Iterable[Plugin]) -> list[Plugin]:
    """The plugins, where one fails that declares again what another entry point of its distribution does."""
    declared: dict[str, list[EncoderSpec]] = defaultdict(list)
    kinds: dict[str, list[ModalitySpec]] = defaultdict(list)
    found = []
    for plugin in plugins:
        try:
            _require_distinct([*declared[plugin.name], *plugin.specs])
            _require_distinct_modalities([*kinds[plugin.name], *plugin.modalities])
        except SpecError as error:
            error.fact += f", here and by another entry point of {plugin.distribution}"
            plugin = replace(plugin, specs=(), modalities=(), error=error, cause="")
        declared[plugin.name] += plugin.specs
        kinds[plugin.name] += plugin.modalities
        found.append(plugin)
    return found
