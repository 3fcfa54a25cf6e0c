"""Each distribution that plugs mmencode into a host: its wheel, beside nothing but what it declares."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import fresh
import pytest
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.hosts

FAKE = """
from mmencode import hookimpl
from mmencode.testing import fake_specs

@hookimpl
def mmencode_encoders():
    return fake_specs()
"""
# Before each use: what was installed is what is imported, and nothing that isn't declared is there.
BEGIN = """
import importlib, sys
from importlib.util import find_spec
module = importlib.import_module(sys.argv[1])
assert "/borrowed/" not in module.__file__ and "/venv/" in module.__file__, module.__file__
assert find_spec("hypothesis") is None and find_spec("mmencode_offline") is None
"""
LANGCHAIN = """
from langchain_mmencode import MmencodeEmbeddings, MmencodeVectorStore
embeddings = MmencodeEmbeddings("fake")
store = MmencodeVectorStore.from_texts(["heavy rain", "a violin"], embeddings, path="index")
print([document.page_content for document in store.similarity_search("a violin", k=1)])
"""
LLAMA_INDEX = """
from llama_index.core import Document, VectorStoreIndex
from llama_index.embeddings.mmencode import MmencodeEmbedding
documents = [Document(text="heavy rain"), Document(text="a violin")]
index = VectorStoreIndex.from_documents(documents, embed_model=MmencodeEmbedding("fake"))
print([node.text for node in index.as_retriever(similarity_top_k=1).retrieve("a violin")])
"""
LLM = """
import llm
from click.testing import CliRunner
from llm.cli import cli
done = CliRunner().invoke(cli, ["mmencode", "register", "fake"])
assert done.exit_code == 0, done.output
texts = llm.Collection("texts", model=llm.get_embedding_model("mmencode/fake"))
texts.embed_multi([("1", "heavy rain"), ("2", "a violin")], store=True)
print([entry.content for entry in texts.similar("a violin", number=1)])
"""
HAYSTACK = """
from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.mmencode import MmencodeDocumentEmbedder, MmencodeTextEmbedder
store = InMemoryDocumentStore()
documents = [Document(content="heavy rain"), Document(content="a violin")]
store.write_documents(MmencodeDocumentEmbedder("fake").run(documents)["documents"])
query = MmencodeTextEmbedder("fake").run("a violin")
found = InMemoryEmbeddingRetriever(store, top_k=1).run(query["embedding"], filters=query["filters"])
print([document.content for document in found["documents"]])
"""
SKLEARN = """
from mmencode_adapters.sklearn import SpaceTransformer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
texts = ["heavy rain", "a violin"]
rows = SpaceTransformer("fake").fit_transform(texts)
nearest = NearestNeighbors(n_neighbors=1).fit(rows)
print([texts[row] for row in nearest.kneighbors(SpaceTransformer("fake").fit_transform(["a violin"]))[1][0]])
"""


@dataclass(frozen=True)
class Adapter:
    """A distribution: what it and its host are imported as, and what somebody does with it."""

    name: str
    package: str
    host: str
    use: str
    extra: str = ""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return fresh.ROOT / "plugins" / self.name

    @property
    def files(self) -> list[Path]:
        """Its modules."""
        return sorted((self.folder / self.package.replace(".", "/")).glob("*.py"))


ADAPTERS = [
    Adapter("langchain-mmencode", "langchain_mmencode", "langchain_core", LANGCHAIN),
    Adapter(
        "llama-index-embeddings-mmencode", "llama_index.embeddings.mmencode", "llama_index.core", LLAMA_INDEX
    ),
    Adapter("llm-mmencode", "llm_mmencode", "llm", LLM),
    Adapter("mmencode-haystack", "haystack_integrations.components.embedders.mmencode", "haystack", HAYSTACK),
    Adapter("mmencode-adapters", "mmencode_adapters", "sklearn", SKLEARN, extra="sklearn"),
]


def test_no_adapter_of_this_repository_is_left_out():
    assert {adapter.name for adapter in ADAPTERS} == fresh.distributions_of_plugins(declare_encoders=False)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of mmencode, and of a plugin with a space for the adapters to use."""
    folder = tmp_path_factory.mktemp("fake")
    (folder / "faked").mkdir()
    (folder / "faked" / "__init__.py").write_text(FAKE)
    fresh.write_pyproject(folder, "mmencode-faked", "faked")
    return fresh.build(folder / "wheels", fresh.ROOT, folder)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_adapter_alone_finds_what_its_host_stored(adapter: Adapter, fake: list[Path], tmp_path: Path) -> None:
    pytest.importorskip(adapter.host, reason=f"{adapter.host}: .ci/run hosts installs it")
    (wheel,) = fresh.build(tmp_path / "wheels", adapter.folder)
    needs = fresh.table_of(adapter.folder).get("optional-dependencies", {}).get(adapter.extra, ())
    python = fresh.install(tmp_path / "venv", *fake, wheel, needs=needs)
    done = fresh.run(python, "-c", BEGIN + adapter.use, adapter.package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['a violin']"


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_what_an_adapter_imports_is_declared(adapter: Adapter) -> None:
    """By its distribution, by the extra that a module of it is called by, or by mmencode."""
    extras = fresh.table_of(adapter.folder).get("optional-dependencies", {})
    given = packages_distributions()
    assert adapter.files
    for path in adapter.files:
        extra = map(fresh.name_of, extras.get(path.stem.replace("_", "-"), ()))
        declared = fresh.names_of(fresh.ROOT) | fresh.names_of(adapter.folder) | set(extra)
        for module in sorted(fresh.imported_by(path) - sys.stdlib_module_names - {"mmencode"}):
            if module not in given:
                pytest.skip(f"{module}: .ci/run hosts installs it")
            owners = set(map(canonicalize_name, given[module]))
            assert owners & declared, f"{path.name} imports {module}, of {owners}"
