"""Settings of step 1: where the web pages are, and how they become segments."""

from typing import Literal, Self

from pydantic import Field, model_validator

from backtranslation.settings.slices import Name, PositiveInt, Share, Slice


class Fields(Slice):
    """Names of the fields (JSONL) or columns (Parquet) that are read."""

    url_field: str = Field("url", description="JSONL and Parquet: field of the page's address; pages need not have it")
    text_field: str = Field(
        "text", description="JSONL and Parquet: field of plain text or Markdown, used where there is no HTML"
    )
    html_field: str = Field("html", description="JSONL and Parquet: field of the page as HTML")
    license_field: str = Field(
        "license", description="JSONL and Parquet: field of the page's license; pages need not have it"
    )


class Source(Fields):
    """Files of one origin. Each file is one shard, the unit of work, unless `splits` cuts it."""

    name: Name = Field(description="names of shards begin with it; made of letters, digits, _ and -")
    paths: list[str] = Field(
        min_length=1, description="files, folders of HTML or text files, or globs (** matches folders at any depth)"
    )
    format: Literal["auto", "warc", "wet", "html", "jsonl", "parquet", "text"] = Field(
        "auto",
        description="auto (by the suffix of each file; a folder is one of HTML files), warc, wet, html, jsonl, parquet "
        "or text (plain, each file one text)",
    )
    splits: PositiveInt = Field(
        1, description="number of shards that each file is cut into; the shards are processed in parallel"
    )

    def fields(self) -> Fields:
        """The settings that say how a row is read."""
        return Fields(**self.only(*Fields.model_fields))


class SegmentSettings(Slice):
    """Segments are sections of a page that have this length (paper, section 2.1 and appendix E)."""

    min_chars: PositiveInt = Field(600, description="fewest characters of Markdown")
    max_chars: PositiveInt = Field(3000, description="most characters of Markdown")
    max_page_bytes: PositiveInt = Field(10_000_000, description="larger pages are skipped, and counted in the report")
    max_page_seconds: PositiveInt = Field(
        10,
        description="pages that take the processor longer are dropped, and counted; the usual takes a few milliseconds",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars ({self.min_chars}) is larger than max_chars ({self.max_chars})")
        return self


class SegmentFilters(Slice):
    """Which segments are dropped; the funnel in the report counts them by reason."""

    languages: list[str] = Field(["en"], description="ISO 639-1 codes of the languages that are kept; [] keeps all")
    min_language_probability: Share = Field(
        0.5, description="smallest probability of the language at the beginning, middle and end of a segment"
    )
    require_header: bool = Field(
        False, description="true drops segments without a header, such as pieces of plain text"
    )
    max_header_capitals: Share = Field(0.6, description="largest share of capitals among the letters of the header")
    navigation_headers: list[str] = Field(
        ["advertisement", "forum", "quick link", "newsletter", "related posts", "share this", "comments", "navigation",
         "table of contents", "see also", "search", "log in", "sign up", "cookie", "privacy policy", "contact us"],
        description="sections with such a header are cut out: one with a phrase of several words from this list, or "
        "one of at most two words with a single word from it",
    )  # fmt: skip
    repeated_sentence_ngram: PositiveInt = Field(
        3, description="words per n-gram when the sentences of a segment are compared"
    )
    max_sentence_similarity: Share = Field(
        0.8, description="a segment is dropped if two of its sentences are more similar (Jaccard, of n-grams)"
    )
    max_symbol_share: Share = Field(
        0.3, description="largest share of characters of prose that are neither letters nor white space"
    )
    min_sentence_share: Share = Field(
        0.0, description="smallest share of prose in lines that end like a sentence; 0.0 keeps all"
    )


class Deduplication(Slice):
    """Copies of earlier segments are dropped: exact ones always, near ones by the MinHash of their word n-grams."""

    near: bool = Field(True, description="also drop near duplicates")
    ngram: PositiveInt = Field(5, description="words per n-gram")
    permutations: PositiveInt = Field(
        128, description="length of a MinHash signature; longer ones estimate the similarity better"
    )
    threshold: Share = Field(0.8, description="estimated Jaccard similarity from which a segment is a near duplicate")


class Decontamination(Slice):
    """Segments and generated instructions that overlap with the held-out pairs are dropped."""

    ngram: PositiveInt = Field(
        8, description="words per n-gram; shorter texts are compared as a whole if they have 4 words or more"
    )
    max_overlap: Share = Field(0.5, description="largest share of the n-grams of a held-out text that may occur in one")


class Corpus(Slice):
    """Step 1: web pages become segments."""

    sources: list[Source] = Field(
        min_length=1,
        description="Where the pages are. Of duplicates the one in the earliest source stays, so add new sources at "
        "the end.",
    )
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
