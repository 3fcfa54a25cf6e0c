"""Checks of what an encoder says about itself, and of the state it is loaded in."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from unittest import SkipTest

from ...encoder import identify
from ...runtime import Runtime
from ...towers import load_tower
from .suite import Suite


class DeclarationChecks(Suite):
    """The spec is valid and true, and the encoder is loaded for inference."""

    def test_declaring_imports_no_torch(self) -> None:
        """Listing encoders stays quick for everybody who has this plugin installed."""
        code = "import sys, mmencode; mmencode.registry(); print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False", "importing the plugin imports torch; put that in the target"

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
        tower = load_tower(spec, Runtime("cpu"))
        projection = tower.projection if spec.projection else None
        assert tower.card.identity == identify(tower.encoder, projection)
        assert spec.identity in (None, tower.card.identity)

    def test_card_is_the_same_in_another_process(self) -> None:
        """Vectors of two runs can be compared."""
        spec = self.declared()
        if self.spec is not None:
            raise SkipTest("only an encoder that is tested by name can be loaded by another process")
        code = (
            "import sys, mmencode; from mmencode import Space; spec = mmencode.registry()[sys.argv[1]]; "
            "print(Space(spec.space_name, [spec]).id)"
        )
        command = [sys.executable, "-c", code, spec.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == self.space().id, done.stderr[-500:]

    def test_encoder_is_in_eval_mode(self) -> None:
        """No dropout, no batch statistics."""
        training = [name for name, module in self.encoder().named_modules() if module.training]
        assert not training, f"in training mode: {training[:3]}"

    def test_parameters_need_no_gradient(self) -> None:
        """No memory is spent on graphs."""
        assert not any(parameter.requires_grad for parameter in self.encoder().parameters())
