"""Implement `mmencode check`, which runs the conformance suite on installed encoders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, MmencodeError, UnknownNameError
from ..plugins.offering import keep_offered
from ..plugins.registry import Registry, registry
from ..plugins.spec import EncoderSpec
from . import output
from .items import gather
from .options import Json

if TYPE_CHECKING:
    from ..testing import Outcome

LEAST = 3  # some checks compare an item with its neighbours


def check(
    name: Annotated[
        str,
        typer.Argument(
            help="The name of an encoder, or of a space to check all its encoders.", metavar="NAME"
        ),
    ],
    items: Annotated[
        list[str] | None,
        typer.Option(
            "--items",
            help="Texts, files or folders to check with, at least three items, in place of generated ones. "
            "Of items with parts, a table of them, as for `mmencode encode`.",
            metavar="PATH ...",
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="PATH")] = None,
    json: Json = False,
) -> None:
    """Run the conformance tests on an installed encoder.

    The tests are those of mmencode.testing.EncoderConformance, run without pytest. One that doesn't apply to
    the encoder is skipped. The exit code is 1 if one fails.

    \b
    Example: mmencode check offline/minilm
    Example: mmencode check offline/efficientnet-lite0 --items one.jpg two.jpg three.jpg
    """
    specs = _find_specs(registry(), name)
    batch = _gather_items(specs, items or [], more or [])
    found = {spec.name: _check_encoder(spec, batch, drawn=not json, titled=len(specs) > 1) for spec in specs}
    if json:
        output.document([_document(encoder, outcomes) for encoder, outcomes in found.items()])
    if not all(_all_pass(outcomes) for outcomes in found.values()):
        raise typer.Exit(1)


def _find_specs(known: Registry, name: str) -> Sequence[EncoderSpec]:
    """Find the encoder of that name, or the encoders of the space of that name."""
    try:
        specs: Sequence[EncoderSpec] = (known[name],)
    except UnknownNameError as unknown:
        try:
            specs, _ = keep_offered(known.space(name))
        except UnknownNameError:
            raise unknown from None
    encoders = [spec for spec in specs if not spec.weights]
    if not encoders:
        raise MmencodeError(
            f"{name!r} is no encoder but the weighted sum of its parts' vectors in {specs[0].joins!r}",
            remedy=f"check the encoders of its parts: `mmencode check {specs[0].joins}`",
        )
    specs = encoders
    if any(spec.is_family for spec in specs):
        raise MmencodeError(
            f"{name!r} stands for many encoders", remedy="write the name of one of them in place of the star"
        )
    return specs


def _gather_items(
    specs: Sequence[EncoderSpec], items: Sequence[str], more: Sequence[str]
) -> list[Any] | None:
    """Collect the user's items and read each of them; None stands for the generated items.

    `--items` takes one value as an option; further values arrive as arguments, in `more`.
    """
    if more and not items:
        raise typer.BadParameter(f"write --items before {more[0]!r}")
    if not items:
        return None
    if len(specs) > 1:
        names = ", ".join(spec.name for spec in specs)
        raise typer.BadParameter(f"items are for one encoder: name one of {names}", param_hint="--items")
    modality = specs[0].modality
    found = gather(modality, [*items, *more])
    if found.errors:
        raise found.errors[0]
    if len(found.batch) < LEAST:
        raise typer.BadParameter(
            f"the checks need at least {LEAST} different items, not {len(found.batch)}", param_hint="--items"
        )
    from ..inputs import Limits, reader

    read = reader(modality, parts=specs[0].parts)
    for place, item in enumerate(found.batch):
        try:
            read(item, Limits())
        except InputError as error:  # a bad item is reported here, not as a failure of the encoder
            raise found.blame([error.at(place)])[-1] from error.__cause__
    return found.batch


def _check_encoder(spec: EncoderSpec, items: list[Any] | None, *, drawn: bool, titled: bool) -> list[Outcome]:
    """Run the checks of one encoder, print their outcomes if `drawn`, and the verdict in any case."""
    outcomes = _run_checks(spec, items)
    if drawn:
        rows = [(found.check, found.protects, found.state, found.reason) for found in outcomes]
        columns = ("check", "protects", "state", "reason")
        output.table(output.Table(spec.name, columns, rows), titled=titled)
    counts = Counter(found.state for found in outcomes)
    broken = "breaks the contract" if len(outcomes) > 1 else "can't be loaded"
    verdict = "keeps the contract" if _all_pass(outcomes) else broken
    counted = ", ".join(
        f"{counts[state]} {state}" for state in ("passed", "failed", "skipped") if counts[state]
    )
    output.note(f"{spec.name} {verdict}: {counted}")
    return outcomes


def _run_checks(spec: EncoderSpec, batch: list[Any] | None) -> list[Outcome]:
    """Run all checks of an encoder; only the first, "loads", if it can't be loaded."""
    from ..engine.progress import bar
    from ..testing import Check, EncoderConformance, checks

    class Installed(EncoderConformance):
        name = spec.name
        items = batch

    planned = list(checks(Installed))
    try:
        outcomes = [
            Check("loads", "The encoder can be built with all its weights", Installed.encoder).attempt()
        ]
        if outcomes[0].state == "failed":  # every other check would fail with this reason again
            return outcomes
        with bar(spec.name, len(planned)) as advance:
            for check in planned:
                outcomes.append(check.attempt())
                advance(1, int(outcomes[-1].state == "failed"))
        return outcomes
    finally:
        Installed.teardown_class()


def _all_pass(outcomes: Sequence[Outcome]) -> bool:
    return all(found.state != "failed" for found in outcomes)


def _document(encoder: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    checks = [
        {"check": found.check, "protects": found.protects, "state": found.state, "reason": found.reason}
        for found in outcomes
    ]
    return {"encoder": encoder, "state": "passed" if _all_pass(outcomes) else "failed", "checks": checks}
