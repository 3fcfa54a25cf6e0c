"""The full text of an index's columns: how their words are told apart, indexed by LanceDB and found by BM25.

Words are told apart by the rules of Unicode with ICU's dictionaries, which also know words of languages that
put no space between them, or every text is cut into pieces of so many characters. Case and accents don't
count. A query is words alone: nothing in it has a meaning of its own. Rows that came after the last `compact`
are looked through beside LanceDB's index, so that none is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..arguments.counts import require_positive
from ..errors.suggestions import did_you_mean
from .columns import metadata_names

# The languages whose endings LanceDB takes off words, and whose stop words it knows.
LANGUAGES = (
    *("Arabic", "Danish", "Dutch", "English", "Finnish", "French", "German", "Greek", "Hungarian"),
    *("Italian", "Norwegian", "Portuguese", "Romanian", "Russian", "Spanish", "Swedish", "Tamil", "Turkish"),
)
FROM_LOOSE = 20_000  # rows that LanceDB looks through beside its index until a compaction is due
SHARE = 4  # the same as a part of the rows in the index, so that compactions become rarer as it grows
LONGEST_WORD, MOST_CHARACTERS = 128, 8
_NAME = "full_text_"  # followed by the column
_WORDS, _PIECES = "icu/split", "ngram"


@dataclass(frozen=True, slots=True)
class FullText:
    """The way in which the words of one column are told apart.

    language    that whose endings are taken off words, so that "houses" finds "house", and whose stop words
                are left out, such as "the", which rank by nothing; "" for none
    characters  length of the pieces that texts are cut into; 0 for words
    """

    column: str
    language: str = ""
    characters: int = 0

    @classmethod
    def choose(cls, column: str, language: str, characters: int) -> FullText:
        """Check the settings of a column; ValueError for a language that LanceDB has no rules for."""
        if characters:
            characters = require_positive(characters, "characters", MOST_CHARACTERS, other="0, for words")
        known = {name.lower(): name for name in LANGUAGES}
        if not isinstance(language, str) or language.lower() not in {"", *known}:
            near = did_you_mean(str(language).lower(), known, known.__getitem__)
            raise ValueError(
                f"language is {language!r:.100}, and the languages known are {', '.join(LANGUAGES)}: "
                f"{near or 'leave it out; without it words are found as they are written'}"
            )
        if language and characters:
            raise ValueError(
                "language takes the endings off words, and characters cuts texts into pieces that are none: "
                "pass one of them"
            )
        return cls(column, known.get(language.lower(), ""), characters)

    def describe(self) -> str:
        """Describe the settings in words."""
        if self.characters:
            return f"pieces of {self.characters} characters"
        return f"words, by the rules of {self.language}" if self.language else "words"

    def build(self, table: Any) -> None:
        """Make LanceDB's index of the column, in place of an older one."""
        config = import_module("lancedb.index").FTS(
            base_tokenizer=_PIECES if self.characters else _WORDS,
            language=self.language or "English",
            stem=bool(self.language),
            remove_stop_words=bool(self.language),
            max_token_length=LONGEST_WORD,
            ngram_min_length=self.characters or 3,
            ngram_max_length=self.characters or 3,
        )
        table.create_index(self.column, config=config, name=_NAME + self.column, replace=True)


def read_full_text(table: Any) -> tuple[FullText, ...]:
    """Read which columns of a table have full text, and how; sorted by name."""
    found = []
    for index in table.list_indices():
        if index.name.startswith(_NAME):
            facts = index.index_details or {}
            pieces = facts.get("base_tokenizer") == _PIECES
            language = facts.get("language", "") if facts.get("stem") else ""
            characters = facts.get("min_ngram_length", 0) if pieces else 0
            found.append(FullText(index.name.removeprefix(_NAME), language, characters))
    return tuple(sorted(found, key=lambda one: one.column))


def is_due(table: Any, columns: Iterable[FullText]) -> bool:
    """Whether so many rows are looked through beside LanceDB's index that a compaction pays."""
    for each in columns:
        counts = table.index_stats(_NAME + each.column)
        if counts is not None and counts.num_unindexed_rows >= max(
            FROM_LOOSE, counts.num_indexed_rows // SHARE
        ):
            return True
    return False


def list_text_columns(schema: Any) -> list[str]:
    """List the columns that may have full text: the key, and metadata of texts."""
    import pyarrow as pa

    texts = [name for name in metadata_names(schema) if pa.types.is_string(schema.field(name).type)]
    return ["key", *texts]


def search_words(table: Any, words: str, columns: Sequence[str]) -> Any:
    """Build LanceDB's search for any of the words in any of the columns, which yet has no limit."""
    queries = import_module("lancedb.query")
    asked = (
        queries.MatchQuery(words, columns[0])
        if len(columns) == 1
        else queries.MultiMatchQuery(words, list(columns))
    )
    return table.search(asked, query_type="fts")
