"""Check the declaration of an encoder, its identity, and the state in which it is loaded."""

from __future__ import annotations

import dataclasses
import pickle
import tempfile
from pathlib import Path
from unittest import SkipTest

from ...encoder import identify
from ...engine.building import build_tower
from ...errors import UnknownNameError
from ...plugins.places import place_in
from ...plugins.registry import registry
from ...plugins.spec import EncoderSpec
from ...spaces.joining import admit, card_of_declared
from . import elsewhere
from .suite import Suite

SECONDS = 0.05  # for all declarations of a distribution


class DeclarationChecks(Suite):
    """Checks that the spec is valid and true, and that the encoder is loaded for inference."""

    def test_declaring_imports_nothing_heavy(self) -> None:
        """Listing encoders stays quick for everybody who has this plugin installed."""
        heavy = self._measure_declaring().heavy
        assert not heavy, f"importing the plugin imports {', '.join(heavy)}: import that in the target"

    def test_declaring_takes_under_50_ms(self) -> None:
        """Listing encoders stays quick with many plugins; the time excludes importing mmencode itself."""
        seconds = self._measure_declaring().seconds
        assert seconds <= SECONDS, f"importing the plugin takes {1000 * seconds:.0f} ms at best"

    def _measure_declaring(self) -> elsewhere.Declaring:
        """Measure in a fresh process how the encoder's distribution declares its encoders."""
        self.only_by_name()
        return elsewhere.measure_declaring(registry().distribution(self.name), SECONDS)

    def test_spec_is_valid(self) -> None:
        """The spec describes one encoder, in fields of the right types."""
        spec = self.get_spec()
        assert isinstance(spec, EncoderSpec), f"{spec!r} isn't an EncoderSpec"
        assert not spec.is_family, "a family stands for many encoders: test one of its members"
        dataclasses.replace(spec)  # validates every field again

    def test_spec_is_frozen(self) -> None:
        """The spec can't be changed after it was declared."""
        try:
            self.get_spec().name = "another"  # type: ignore[misc]
        except dataclasses.FrozenInstanceError:
            return
        raise AssertionError("the spec can be changed")

    def test_spec_survives_pickling(self) -> None:
        """Specs can be sent to worker processes."""
        assert pickle.loads(pickle.dumps(self.get_spec())) == self.get_spec()  # noqa: S301

    def test_target_builds_an_encoder(self) -> None:
        """The target builds an encoder that has a width and describes its preprocessing."""
        encoder = self.encoder()
        assert encoder.width > 0
        assert encoder.preprocessing, "describe in `preprocessing` what the features depend on"

    def test_declared_identity_is_the_real_one(self) -> None:
        """An identity that the spec declares is the one that loading finds."""
        spec = self.get_spec()
        encoder, projection, card = build_tower(spec)
        assert card.identity == identify(encoder, projection if spec.projection else None, spec.variant)
        assert spec.identity in (None, card.identity)

    def test_card_is_the_same_in_another_process(self) -> None:
        """Vectors of two processes have the same identity, and can be compared."""
        self.only_by_name()
        found, _ = elsewhere.encode(self.name, self.samples()[:2])
        assert found == self.space().id, f"in another process it is {found}, here {self.space().id}"

    def test_identity_does_not_depend_on_where_weights_lie(self) -> None:
        """A checkpoint that is moved to another folder stays the same space."""
        spec = self.get_spec()
        place = place_in(spec.variant)
        if place is None:
            raise SkipTest("only for members of a family whose names are paths")
        start, end = place
        path = Path(spec.variant[start:end]).expanduser().resolve()
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "elsewhere"
            link.symlink_to(path if path.is_dir() else path.parent)
            there = link if path.is_dir() else link / path.name
            variant = f"{spec.variant[:start]}{there}{spec.variant[end:]}"
            name = spec.name.removesuffix(spec.variant) + variant
            _, _, card = build_tower(dataclasses.replace(spec, name=name, variant=variant, identity=None))
        here = self.space().tower(spec.key).card
        assert str(path) not in str(dataclasses.asdict(here.identity)), "the path is part of the identity"
        assert card.identity == here.identity, f"elsewhere it is {card.identity}, here {here.identity}"

    def test_an_encoder_that_joins_a_space_was_measured_there(self) -> None:
        """A space gains a modality only by a projection that says where it leads, and how well."""
        spec = self.get_spec()
        if not spec.joins:
            raise SkipTest("only for encoders that join a space")
        assert spec.identity is not None, "declare the identity: a space's card is known without loading"
        assert spec.ships_projection, 'ship what save_projection wrote: projection="package:file.safetensors"'
        frame = [joiner for joiner in self._find_space(spec.joins) if not joiner.joins]
        assert spec.key not in {own.key for own in frame}, f"{spec.joins} has {spec.key} itself"
        fault = admit([spec], card_of_declared(spec.joins, frame), (), spec.outputs).absent.get(spec.key)
        assert fault is None, str(fault)

    def _find_space(self, name: str) -> tuple[EncoderSpec, ...]:
        """Find the encoders of a space; none where it isn't installed."""
        try:
            return registry().space(name)
        except UnknownNameError:
            return ()

    def test_encoder_is_in_eval_mode(self) -> None:
        """Dropout and batch statistics are switched off."""
        training = [name for name, module in self.encoder().named_modules() if module.training]
        assert not training, f"in training mode: {training[:3]}"

    def test_parameters_need_no_gradient(self) -> None:
        """No memory is spent on gradients."""
        assert not any(parameter.requires_grad for parameter in self.encoder().parameters())
