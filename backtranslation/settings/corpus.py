"""Settings of the web pages: where they are, and how they become segments."""

from typing import Literal, Self

from pydantic import Field, model_validator

from backtranslation.settings.slices import Name, PositiveInt, Share, Slice


class Fields(Slice):
    """Names of fields (JSONL) or columns (Parquet)."""

    url_field: str = Field("url", description="JSONL and Parquet: the page address, may be missing")
    text_field: str = Field(
        "text", description="JSONL and Parquet: plain text or Markdown, used where there is no HTML"
    )
    html_field: str = Field("html", description="JSONL and Parquet: the page as HTML")


class Source(Fields):
    """Files of one origin. Each file is one shard."""

    name: Name = Field(description="prefix of the names of its shards")
    paths: list[str] = Field(
        min_length=1, description="files, folders of HTML files, or globs (** goes through folders)"
    )
    format: Literal["auto", "warc", "wet", "html", "jsonl", "parquet"] = Field(
        "auto", description="auto: by the suffix of each file"
    )
    splits: PositiveInt = Field(1, description="cut each file into so many shards; the number is part of their names")

    def fields(self) -> Fields:
        """The part that says how rows are read."""
        return Fields(url_field=self.url_field, text_field=self.text_field, html_field=self.html_field)


class SegmentSettings(Slice):
    """What counts as a segment (paper, section 2.1 and appendix E)."""

    min_chars: PositiveInt = Field(600, description="characters of Markdown, at least")
    max_chars: PositiveInt = Field(3000, description="characters of Markdown, at most")
    max_page_bytes: PositiveInt = Field(10_000_000, description="larger pages are skipped and counted")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars ({self.min_chars}) is larger than max_chars ({self.max_chars})")
        return self


class SegmentFilters(Slice):
    """Which segments are dropped; each reason is counted in the funnel."""

    languages: list[str] = Field(["en"], description="ISO 639-1 codes that are kept; [] keeps all")
    min_language_probability: Share = Field(
        0.5, description="of the language that is most probable at the beginning, middle and end"
    )
    require_header: bool = Field(False, description="drop segments without a header, such as pieces of plain text")
    max_header_capitals: Share = Field(0.6, description="share of capitals among the letters of the header")
    navigation_headers: list[str] = Field(
        ["advertisement", "forum", "quick link", "newsletter", "related posts", "share this", "comments", "navigation",
         "table of contents", "see also", "search", "log in", "sign up", "cookie", "privacy policy", "contact us"],
        description="a header that holds such a phrase, or a single word and at most one other, goes with all under it",
    )  # fmt: skip
    repeated_sentence_ngram: PositiveInt = Field(3, description="words per n-gram when two sentences are compared")
    max_sentence_similarity: Share = Field(
        0.8, description="Jaccard similarity of the n-grams of two sentences above which their segment is dropped"
    )
    max_symbol_share: Share = Field(0.3, description="characters of prose that are neither letters nor white space")
    min_sentence_share: Share = Field(0.0, description="share of the prose in lines that end like a sentence")


class Deduplication(Slice):
    """Exact copies always go; near copies by MinHash over word n-grams. Earlier sources win."""

    near: bool = Field(True, description="also drop near duplicates")
    ngram: PositiveInt = Field(5, description="words per n-gram")
    permutations: PositiveInt = Field(128, description="length of a MinHash signature")
    threshold: Share = Field(0.8, description="estimated Jaccard similarity from which a segment is a near duplicate")


class Decontamination(Slice):
    """Segments that overlap with the held-out pairs are dropped."""

    ngram: PositiveInt = Field(8, description="words per n-gram; shorter texts are matched whole from 4 words on")
    max_overlap: Share = Field(0.5, description="share of a held-out text's n-grams found in one segment")


class Corpus(Slice):
    """Web pages and how they become segments."""

    sources: list[Source] = Field(min_length=1, description="earlier sources win when duplicates are removed")
    segments: SegmentSettings = SegmentSettings()
    filters: SegmentFilters = SegmentFilters()
    deduplication: Deduplication = Deduplication()
    decontamination: Decontamination = Decontamination()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are called {name!r}")
        return self
