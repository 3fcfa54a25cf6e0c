"""Checks of what an encoder says about itself, and of the state it is loaded in."""

from __future__ import annotations

import dataclasses
import pickle
import tempfile
from pathlib import Path
from unittest import SkipTest

from ...encoder import identify
from ...engine.towers import build_tower
from ...plugins.places import place_in
from ...plugins.registry import registry
from ...plugins.spec import EncoderSpec
from . import elsewhere
from .suite import Suite

SECONDS = 0.05  # for all that a distribution declares


class DeclarationChecks(Suite):
    """The spec is valid and true, and the encoder is loaded for inference."""

    def test_declaring_imports_nothing_heavy(self) -> None:
        """Listing encoders stays quick for everybody who has this plugin installed."""
        heavy = self._declaring().heavy
        assert not heavy, f"importing the plugin imports {', '.join(heavy)}; put that in the target"

    def test_declaring_takes_under_50_ms(self) -> None:
        """All plugins together stay quick, too; the time is that beyond importing mmencode itself."""
        seconds = self._declaring().seconds
        assert seconds <= SECONDS, f"importing the plugin takes {1000 * seconds:.0f} ms at best"

    def _declaring(self) -> elsewhere.Declaring:
        """How a fresh process finds the declarations of the encoder's distribution."""
        self.only_by_name()
        return elsewhere.declaring(registry().distribution(self.name), SECONDS)

    def test_spec_is_valid(self) -> None:
        """What the spec says holds for one encoder, and can be read by those who need it later."""
        spec = self.declared()
        assert isinstance(spec, EncoderSpec), f"{spec!r} is no EncoderSpec"
        assert not spec.is_family, "a family stands for many encoders: test one of its members"
        dataclasses.replace(spec)  # looks at every field again

    def test_spec_is_frozen(self) -> None:
        """Nobody can change what another declared."""
        try:
            self.declared().name = "another"  # type: ignore[misc]
        except dataclasses.FrozenInstanceError:
            return
        raise AssertionError("the spec can be changed")

    def test_spec_survives_pickling(self) -> None:
        """Specs travel to worker processes."""
        assert pickle.loads(pickle.dumps(self.declared())) == self.declared()  # noqa: S301

    def test_target_builds_an_encoder(self) -> None:
        """The target resolves, and what it builds has a width and words for its preprocessing."""
        encoder = self.encoder()
        assert encoder.width > 0
        assert encoder.preprocessing, "say in `preprocessing` what the features depend on"

    def test_declared_identity_is_the_real_one(self) -> None:
        """The card can be trusted before anything is loaded."""
        spec = self.declared()
        encoder, projection, card = build_tower(spec)
        assert card.identity == identify(encoder, projection if spec.projection else None, spec.variant)
        assert spec.identity in (None, card.identity)

    def test_card_is_the_same_in_another_process(self) -> None:
        """Vectors of two runs can be compared."""
        self.only_by_name()
        found, _ = elsewhere.encoding(self.name, self.samples()[:2])
        assert found == self.space().id, f"there it is {found}, here {self.space().id}"

    def test_identity_does_not_depend_on_where_weights_lie(self) -> None:
        """A checkpoint that is moved stays the same space."""
        spec = self.declared()
        place = place_in(spec.variant)
        if place is None:
            raise SkipTest("only for members of a family that are named by a path")
        start, end = place
        path = Path(spec.variant[start:end]).expanduser().resolve()
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "elsewhere"
            link.symlink_to(path if path.is_dir() else path.parent)
            there = link if path.is_dir() else link / path.name
            variant = f"{spec.variant[:start]}{there}{spec.variant[end:]}"
            name = spec.name.removesuffix(spec.variant) + variant
            _, _, card = build_tower(dataclasses.replace(spec, name=name, variant=variant, identity=None))
        here = self.space().tower(spec.modality).card
        assert str(path) not in str(here.identity), "the path stands in its words, which are its identity"
        assert card.identity == here.identity, f"elsewhere it is {card.identity}, here {here.identity}"

    def test_encoder_is_in_eval_mode(self) -> None:
        """No dropout, no batch statistics."""
        training = [name for name, module in self.encoder().named_modules() if module.training]
        assert not training, f"in training mode: {training[:3]}"

    def test_parameters_need_no_gradient(self) -> None:
        """No memory is spent on graphs."""
        assert not any(parameter.requires_grad for parameter in self.encoder().parameters())
