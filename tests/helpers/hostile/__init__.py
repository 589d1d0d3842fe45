"""The hostile set: inputs that are made to stop, slow down or deceive a run, and what must come of each."""

from helpers.hostile.archives import WARC_CASES, WET_CASES
from helpers.hostile.cases import Case
from helpers.hostile.configurations import CONFIGURATION_CASES
from helpers.hostile.file_names import FILE_CASES
from helpers.hostile.model_folders import MODEL_CASES
from helpers.hostile.pairs import PAIR_CASES
from helpers.hostile.rows import JSON_CASES, PARQUET_CASES
from helpers.hostile.templates import TEMPLATE_CASES
from helpers.hostile.web_pages import HTML_CASES

CASES: list[Case] = [
    *WARC_CASES, *WET_CASES, *HTML_CASES, *JSON_CASES, *PARQUET_CASES,
    *PAIR_CASES, *TEMPLATE_CASES, *MODEL_CASES, *CONFIGURATION_CASES, *FILE_CASES,
]  # fmt: skip
