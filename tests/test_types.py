"""Type checkers see every public name with its whole type, and misspelt ones as errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.hosts
ROOT = Path(__file__).resolve().parents[1]
MISSPELT = "from mmencode import Embedings\nimport mmencode\nmmencode.lod('default')\n"


def run(*arguments, cwd=ROOT):
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=cwd, check=False, timeout=300
    )
    assert done.stdout, done.stderr
    return done.stdout


@pytest.mark.slow
def test_pyright_knows_the_type_of_every_public_name():
    pytest.importorskip("pyright", reason="pyright: .ci/run hosts installs it")
    found = json.loads(run("pyright", "--verifytypes", "mmencode", "--ignoreexternal", "--outputjson"))
    completeness = found["typeCompleteness"]
    unknown = [
        f"{symbol['name']}: {[each['message'] for each in symbol['diagnostics']]}"
        for symbol in completeness["symbols"]
        if symbol["isExported"] and (not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])
    ]
    assert not unknown, "\n".join(unknown)
    assert completeness["completenessScore"] == 1


@pytest.mark.slow
def test_pyright_takes_what_users_write():
    pytest.importorskip("pyright", reason="pyright: .ci/run hosts installs it")
    found = json.loads(run("pyright", "--outputjson", "tests/typing"))
    assert found["summary"]["filesAnalyzed"] == 1
    assert [each["message"] for each in found["generalDiagnostics"] if each["severity"] == "error"] == []


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["pyright", "mypy"])
def test_misspelt_names_are_errors(checker, tmp_path):
    pytest.importorskip(checker, reason=f"{checker}: .ci/run hosts installs it")
    (tmp_path / "misspelt.py").write_text(MISSPELT)
    options = ["--outputjson"] if checker == "pyright" else ["--config-file", str(ROOT / "pyproject.toml")]
    shown = run(checker, *options, str(tmp_path / "misspelt.py"))
    assert '"Embedings"' in shown.replace("\\", "")
    assert '"lod"' in shown.replace("\\", "")
