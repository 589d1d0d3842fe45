"""The store of results: keys, finding again, links and copies, damage, claims, keeping, what can go."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backtranslation.commands.removal import list_unused
from backtranslation.errors import DataError
from backtranslation.files import write_json
from backtranslation.jobs.content_digests import SMALL_FILE, read_digest
from backtranslation.jobs.locks import is_locked
from backtranslation.jobs.manifests import (
    MANIFEST,
    Job,
    Manifest,
    StoreError,
    find,
    make_key,
    result_folder,
    work_folder,
)
from backtranslation.jobs.named_paths import made_output, read_name
from backtranslation.jobs.store import digest_inputs, find_whole, keep_result, make
from backtranslation.jobs.work_files import PROGRESS


class Stage:
    """A stage that copies its input, and the job that asks for it; `runs` counts how often it computed."""

    def __init__(self, results: Path) -> None:
        self.results, self.store, self.runs = results, results / "store", 0
        self.job = Job(
            stage="copy_pages",
            spec={"rate": 1, "size": 2},
            code={"copy_pages.py": "c0de"},
            inputs={"pages": [str(results / "pages.txt")]},
            outputs={"copy": [str(results / "out/copy.txt")]},
        )
        results.mkdir(parents=True, exist_ok=True)
        (results / "pages.txt").write_text("pages")

    def compute(self, outputs: dict[str, list[Path]], work: Path) -> None:
        self.runs += 1
        text = (self.results / "pages.txt").read_text()
        for paths in outputs.values():
            for index, path in enumerate(paths):
                path.write_text(f"{text} {index} {self.job.spec}")

    def change(self, **fields: Any) -> None:
        self.job = dataclasses.replace(self.job, **fields)

    def make(self, compute: Callable[[dict[str, list[Path]], Path], None] | None = None) -> Manifest:
        return make(self.store, self.job, compute or self.compute)

    def key(self) -> str:
        return make_key(self.job, digest_inputs(self.store, self.job))

    @property
    def named(self) -> Path:
        return Path(self.job.outputs["copy"][0])

    def stored(self, manifest: Manifest) -> Path:
        return self.folder(manifest) / manifest.outputs["copy"][0].file

    def folder(self, manifest: Manifest) -> Path:
        return result_folder(self.store, manifest.stage, manifest.key)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "results")


def write_model(outputs: dict[str, list[Path]], work: Path) -> None:
    """A folder with a large file, a folder within, and a hidden file."""
    [folder] = outputs["copy"]
    (folder / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(b"w" * (SMALL_FILE + 1))
    (folder / "deep/config").write_text("config")
    (folder / ".hidden").write_text("not a part of it")


def write_other_model(outputs: dict[str, list[Path]], work: Path) -> None:
    """A folder with one file that the first has not."""
    [folder] = outputs["copy"]
    folder.mkdir()
    (folder / "new").touch()


@pytest.fixture
def model(stage: Stage) -> Stage:
    """A stage whose output is a folder."""
    stage.change(outputs={"copy": [str(stage.results / "models/M0")]})
    return stage


# Keys


def test_the_key_is_made_of_stage_settings_code_content_and_argument(stage: Stage) -> None:
    key = stage.key()
    job = stage.job
    different = [
        dataclasses.replace(job, stage="copy_page"),
        dataclasses.replace(job, spec={"rate": 1, "size": 3}),
        dataclasses.replace(job, spec={"rate": 2, "size": 1}),
        dataclasses.replace(job, spec={"rate": "1", "size": 2}),
        dataclasses.replace(job, code={"copy_pages.py": "c0de2"}),
        dataclasses.replace(job, code={"copy_pages.py": "c0de", "backtranslation.corpus.pages": "1"}),
        dataclasses.replace(job, inputs={"other": job.inputs["pages"]}),
        dataclasses.replace(job, inputs={"pages": job.inputs["pages"] * 2}),
        dataclasses.replace(job, inputs={"pages": job.inputs["pages"], "more": []}),
    ]
    keys = {make_key(other, digest_inputs(stage.store, other)) for other in different}
    assert len(keys | {key}) == len(different) + 1
    (stage.results / "pages.txt").write_text("Pages")
    assert stage.key() not in keys | {key}


def test_the_order_of_inputs_counts(stage: Stage) -> None:
    (stage.results / "more.txt").write_text("more")
    both = [str(stage.results / name) for name in ("pages.txt", "more.txt")]
    stage.change(inputs={"pages": both})
    key = stage.key()
    stage.change(inputs={"pages": both[::-1]})
    assert stage.key() != key


def test_paths_times_and_the_order_of_keys_do_not_count(stage: Stage) -> None:
    key = stage.key()
    moved = stage.results / "elsewhere/renamed.txt"
    moved.parent.mkdir()
    shutil.copyfile(stage.results / "pages.txt", moved)
    os.utime(moved, (0, 0))
    stage.change(spec={"size": 2, "rate": 1}, inputs={"pages": [str(moved)]}, outputs={"copy": ["results/x.txt"]})
    assert stage.key() == key


def test_an_input_folder_counts_by_its_visible_files(stage: Stage) -> None:
    folder = stage.results / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/one").write_text("1")
    stage.change(inputs={"pages": [str(folder)]})
    key = stage.key()
    (folder / ".snakemake_timestamp").touch()
    assert stage.key() == key
    (folder / "deep/one").rename(folder / "one")
    assert stage.key() != key


# Finding and making


def test_what_was_made_is_found(stage: Stage) -> None:
    manifest = stage.make()
    assert stage.make() == manifest
    assert stage.runs == 1
    assert stage.named.read_text() == "pages 0 {'rate': 1, 'size': 2}"


def test_the_manifest_says_what_it_was_made_from_and_what_it_is(stage: Stage) -> None:
    stage.change(outputs={"copy": [str(stage.results / "rows.jsonl")]})
    manifest = stage.make(lambda outputs, work: (outputs["copy"][0].write_text('{"id": 1}\n{"id": 2}\n'), None)[1])
    assert manifest == find(stage.store, "copy_pages", stage.key())
    assert (manifest.stage, manifest.spec, manifest.code) == ("copy_pages", stage.job.spec, stage.job.code)
    [source] = manifest.inputs["pages"]
    assert (source.path, source.digest) == (str(stage.results / "pages.txt"), read_digest(stage.results / "pages.txt"))
    [output] = manifest.outputs["copy"]
    assert (output.rows, output.bytes, output.digest) == (2, 20, read_digest(stage.named))
    assert output.files is None and manifest.kept == []
    assert set(manifest.packages) >= {"python", "torch"}
    assert manifest.seconds >= 0 and manifest.host


def test_what_a_killed_process_spent_counts_by_the_gpus_that_it_had(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "pretended-0,pretended-1")
    work = work_folder(stage.store, "copy_pages", stage.key())
    work.mkdir(parents=True)
    write_json(work / PROGRESS, {"seconds": 100.0, "gpu_seconds": 400.0, "tokens": 5})
    manifest = stage.make()
    assert manifest.seconds >= 100
    assert manifest.gpu_seconds - 400 == pytest.approx(2 * (manifest.seconds - 100), abs=0.002)


def test_a_manifest_of_before_tokens_were_counted_is_read(stage: Stage) -> None:
    def compute(outputs: dict[str, list[Path]], work: Path) -> None:
        stage.compute(outputs, work)
        write_json(work / PROGRESS, {"tokens": 7})

    manifest = stage.make(compute)
    path = stage.folder(manifest) / MANIFEST
    assert manifest.tokens == 7
    earlier = {name: value for name, value in json.loads(path.read_text()).items() if name != "tokens"}
    path.unlink()
    write_json(path, earlier)
    assert stage.make() == manifest.model_copy(update={"tokens": None}) and stage.runs == 1


def test_there_and_back_is_found(stage: Stage) -> None:
    first = stage.make()
    text = stage.named.read_text()
    stage.change(spec={"rate": 2, "size": 1})
    second = stage.make()
    assert first.key != second.key and stage.named.read_text() != text
    stage.change(spec={"rate": 1, "size": 2})
    assert stage.make().key == first.key
    assert stage.named.read_text() == text
    assert stage.runs == 2


def test_the_same_content_below_another_upstream_is_found(stage: Stage) -> None:
    """An input that is made anew and comes out the same changes nothing below it."""
    manifest = stage.make()
    (stage.results / "pages.txt").unlink()
    (stage.results / "pages.txt").write_text("pages")
    assert stage.make().key == manifest.key and stage.runs == 1


def test_several_outputs_under_one_argument(stage: Stage) -> None:
    paths = [str(stage.results / f"shards/{name}.tsv.gz") for name in ("a", "b")]
    stage.change(outputs={"shards": paths, "table": [str(stage.results / "table.tsv")]})
    manifest = stage.make()
    assert [record.file for record in manifest.outputs["shards"]] == ["shards-0.tsv.gz", "shards-1.tsv.gz"]
    assert manifest.outputs["table"][0].file == "table.tsv"
    assert [Path(path).read_text()[:7] for path in paths] == ["pages 0", "pages 1"]
    name = read_name(stage.store, paths[1])
    assert name is not None and (name.output, name.index, name.key) == ("shards", 1, manifest.key)


def test_a_folder_is_linked_file_by_file(model: Stage) -> None:
    manifest = model.make(write_model)
    assert set(manifest.outputs["copy"][0].files or {}) == {"weights", "deep/config"}
    assert (model.named / "deep/config").read_text() == "config"
    assert (model.named / "weights").samefile(model.stored(manifest) / "weights")
    assert not (model.named / ".hidden").exists()
    assert manifest.outputs["copy"][0].bytes == SMALL_FILE + 1 + len("config")


def test_a_folder_takes_the_place_of_another(model: Stage) -> None:
    model.make(write_model)
    model.change(spec={})
    model.make(write_other_model)
    assert [path.name for path in model.named.iterdir()] == ["new"]
    assert [path.name for path in model.named.parent.iterdir()] == ["M0"], "nothing is left beside it"


def test_stored_files_are_links_and_read_only(stage: Stage) -> None:
    manifest = stage.make()
    assert stage.named.samefile(stage.stored(manifest))
    for path in stage.folder(manifest).iterdir():
        assert path.stat().st_mode & 0o777 == 0o444


def no_links(source: object, target: object, **options: object) -> None:
    raise OSError("Operation not permitted")


def test_copies_where_there_are_no_hard_links(model: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    manifest = model.make(write_model)
    assert not (model.named / "weights").samefile(model.stored(manifest) / "weights")
    assert (model.named / "weights").read_bytes() == b"w" * (SMALL_FILE + 1)
    assert model.make(write_model) == manifest


def test_plain_files_under_two_names_share_no_inode(stage: Stage) -> None:
    """Snakemake sets the times of its outputs: those of another name must stay."""
    manifest = stage.make()
    first = stage.named
    stage.change(outputs={"copy": [str(stage.results / "out/second.txt")]})
    stage.make()
    assert stage.runs == 1
    assert first.samefile(stage.stored(manifest)) and not stage.named.samefile(first)
    os.utime(stage.named, (0, 0))
    assert first.stat().st_mtime > 1
    assert stage.named.read_text() == first.read_text()


def test_linking_the_same_name_again_goes_on_sharing(stage: Stage) -> None:
    manifest = stage.make()
    stage.make()
    assert stage.named.samefile(stage.stored(manifest))
    assert stage.stored(manifest).stat().st_nlink == 2


def test_a_name_that_is_right_already_is_left_alone(model: Stage) -> None:
    """A job left over from before may link while others already read what the name holds."""
    model.make(write_model)
    (model.named / ".snakemake_timestamp").touch()
    before = model.named.stat()
    model.make(write_model)
    assert model.named.stat().st_ino == before.st_ino
    assert (model.named / ".snakemake_timestamp").exists()


def test_a_missing_output_is_an_error(stage: Stage) -> None:
    with pytest.raises(StoreError, match=r"^copy_pages did not write its output copy.txt$"):
        stage.make(lambda outputs, work: None)
    assert find(stage.store, "copy_pages", stage.key()) is None
    assert not stage.named.exists()
    stage.make()


def test_outputs_outside_of_the_results_are_an_error(stage: Stage) -> None:
    stage.change(outputs={"copy": [str(stage.results.parent / "other/copy.txt")]})
    with pytest.raises(StoreError, match="other/copy.txt: results must lie in .*results, the folder of the store"):
        stage.make()
    assert stage.runs == 0


def test_a_missing_input_is_an_error(stage: Stage) -> None:
    (stage.results / "pages.txt").unlink()
    with pytest.raises(DataError, match=r"pages.txt: no such file$"):
        stage.make()


def test_what_a_failed_job_left_in_its_work_folder_is_found_again(stage: Stage) -> None:
    def fail(outputs: dict[str, list[Path]], work: Path) -> None:
        (work / "journal").write_text("half")
        outputs["copy"][0].write_text("half")
        raise RuntimeError

    def go_on(outputs: dict[str, list[Path]], work: Path) -> None:
        assert not outputs["copy"][0].exists(), "outputs are begun anew"
        outputs["copy"][0].write_text((work / "journal").read_text() + " whole")

    with pytest.raises(RuntimeError):
        stage.make(fail)
    assert find(stage.store, "copy_pages", stage.key()) is None and not stage.named.exists()
    stage.make(go_on)
    assert stage.named.read_text() == "half whole"
    assert not work_folder(stage.store, "copy_pages", stage.key()).exists()


def test_a_work_folder_is_its_key_s_alone(stage: Stage) -> None:
    def fail(outputs: dict[str, list[Path]], work: Path) -> None:
        (work / "journal").write_text("rows of the first key")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stage.make(fail)
    stage.change(spec={"rate": 5})
    stage.make(lambda outputs, work: (outputs["copy"][0].write_text(str(list(work.glob("journal")))), None)[1])
    assert stage.named.read_text() == "[]"


def test_work_that_a_kill_left_behind_a_finished_result_goes(stage: Stage) -> None:
    """Checkpoints are large; a kill while they were removed must not keep them for ever."""
    stage.make()
    work = work_folder(stage.store, "copy_pages", stage.key())
    (work / "checkpoints").mkdir(parents=True)
    stage.make()
    assert stage.runs == 1 and not work.exists()


# Damage


def overwrite(path: Path, content: str) -> None:
    path.chmod(0o644)
    path.write_text(content)


def test_a_damaged_stored_file_is_moved_aside_and_made_again(stage: Stage) -> None:
    manifest = stage.make()
    text = stage.named.read_text()
    overwrite(stage.stored(manifest), "x" * len(text))
    stage.make()
    assert stage.runs == 2 and stage.named.read_text() == text
    [aside] = (stage.store / "damaged").iterdir()
    assert aside.name.startswith(f"copy_pages-{manifest.key}-")
    assert (aside / "copy.txt").read_text() == "x" * len(text)


def test_a_damaged_large_file_with_its_old_time_is_seen_by_its_size(model: Stage) -> None:
    manifest = model.make(write_model)
    weights = model.stored(manifest) / "weights"
    before = weights.stat()
    overwrite(weights, "w" * SMALL_FILE)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    model.make(write_model)
    assert (model.named / "weights").stat().st_size == SMALL_FILE + 1


def test_a_stored_file_that_is_gone_is_made_again(model: Stage) -> None:
    manifest = model.make(write_model)
    (model.stored(manifest) / "deep/config").unlink()
    model.make(write_model)
    assert (model.stored(manifest) / "deep/config").exists() and (model.named / "deep/config").exists()


@pytest.mark.parametrize("content", ["", "{", '{"stage": "copy_pages"}', "[]", "\xff"])
def test_a_damaged_manifest_means_made_again(stage: Stage, content: str) -> None:
    manifest = stage.make()
    path = stage.folder(manifest) / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(StoreError, match="manifest.json: damaged"):
        find(stage.store, manifest.stage, manifest.key)
    assert stage.make().outputs == manifest.outputs
    assert stage.runs == 2


def test_a_result_whose_manifest_is_gone_is_made_again(stage: Stage) -> None:
    manifest = stage.make()
    (stage.folder(manifest) / "manifest.json").unlink()
    assert stage.make().outputs == manifest.outputs
    assert stage.runs == 2 and find_whole(stage.store, manifest.stage, manifest.key) is not None


def below(stage: Stage) -> Stage:
    """A stage that reads the output of another."""
    lower = Stage(stage.results)
    lower.change(
        stage="count_copies",
        inputs={"copies": [str(stage.named)]},
        outputs={"copy": [str(stage.results / "counts.txt")]},
    )
    return lower


def test_a_named_path_edited_by_hand_is_named(stage: Stage) -> None:
    stage.make()
    stage.named.unlink()
    stage.named.write_text("my own words")
    with pytest.raises(DataError, match=rf"^{stage.named} is damaged, or was edited by hand.*keep {stage.named}`$"):
        below(stage).make()
    stage.make()
    below(stage).make()
    assert stage.runs == 1


def test_a_named_path_edited_through_its_link_is_named_and_mended(stage: Stage) -> None:
    stage.make()
    overwrite(stage.named, "my own words")
    with pytest.raises(DataError, match="copy.txt is damaged"):
        below(stage).make()
    stage.make()
    assert stage.runs == 2, "the stored file was the same one"
    below(stage).make()


def test_a_deleted_named_path_is_linked_again(model: Stage) -> None:
    model.make(write_model)
    shutil.rmtree(model.named)
    model.make(lambda outputs, work: pytest.fail("computed again"))
    assert (model.named / "weights").exists()


def test_a_folder_with_a_file_missing_is_linked_again(model: Stage) -> None:
    model.make(write_model)
    (model.named / "deep/config").unlink()
    with pytest.raises(DataError, match="M0 is damaged"):
        below(model).make()
    model.make(lambda outputs, work: pytest.fail("computed again"))
    assert (model.named / "deep/config").exists()


def test_the_whole_tree_elsewhere_finds_everything(stage: Stage, tmp_path: Path) -> None:
    manifest = stage.make()
    model = Stage(stage.results)
    model.change(stage="train", outputs={"copy": [str(stage.results / "models/M0")]})
    model.make(write_model)
    time.sleep(0.01)  # copies have times of their own
    shutil.copytree(stage.results, tmp_path / "there/results", copy_function=shutil.copyfile)
    there = Stage(tmp_path / "there/results")
    assert there.make().key == manifest.key and there.runs == 0
    there.change(stage="train", outputs={"copy": [str(there.results / "models/M0")]})
    there.make(lambda outputs, work: pytest.fail("computed again"))
    assert made_output(there.store, str(there.named)) is not None


# Claims


def test_the_job_started_last_wins_the_named_path(stage: Stage) -> None:
    later = Stage(stage.results)
    later.change(spec={"rate": 9})

    def compute(outputs: dict[str, list[Path]], work: Path) -> None:
        stage.compute(outputs, work)
        later.make()

    with pytest.raises(StoreError, match=r"copy_pages/\w+ is stored but not linked to .*copy.txt: a job started later"):
        stage.make(compute)
    assert later.named.read_text() == "pages 0 {'rate': 9}"
    assert find_whole(stage.store, "copy_pages", stage.key()) is not None
    stage.make()
    assert stage.runs == 1 and stage.named.read_text() == "pages 0 {'rate': 1, 'size': 2}"


# Keeping


def test_a_kept_result_is_found_under_the_new_settings(stage: Stage) -> None:
    made = stage.make()
    stage.change(spec={"rate": 1, "size": 2, "new": None})
    kept = keep_result(stage.store, stage.job, ["spec.new: none -> null"])
    assert kept.key == stage.key() != made.key
    [note] = kept.kept
    assert note.made_as == made.key and note.differences == ["spec.new: none -> null"]
    assert kept.seconds == made.seconds and kept.started == made.started
    assert stage.make() == kept and stage.runs == 1
    name = read_name(stage.store, str(stage.named))
    assert name is not None and name.key == kept.key
    stage.change(spec={"rate": 1, "size": 2})
    assert stage.make() == made, "what it was is still there"


def test_an_edited_result_can_be_kept(stage: Stage) -> None:
    """As the message about an edited path proposes: same settings, other content."""
    made = stage.make()
    stage.named.unlink()
    stage.named.write_text("my own words")
    kept = keep_result(stage.store, stage.job, ["edited by hand"])
    assert kept.key == made.key and stage.named.read_text() == "my own words"
    below(stage).make()
    stage.make()
    assert stage.runs == 1 and stage.named.read_text() == "my own words"


def test_an_edited_folder_can_be_kept_and_is_kept_twice(model: Stage) -> None:
    model.make(write_model)
    for text in ("one", "two"):
        (model.named / "deep/config").unlink()
        (model.named / "deep/config").write_text(text)
        kept = keep_result(model.store, model.job, [text])
    assert [note.differences for note in kept.kept] == [["one"], ["two"]]
    assert (model.named / "deep/config").read_text() == "two"
    model.make(lambda outputs, work: pytest.fail("computed again"))


def test_what_was_never_made_cannot_be_kept(stage: Stage) -> None:
    stage.named.parent.mkdir()
    stage.named.write_text("from elsewhere")
    with pytest.raises(StoreError, match="copy.txt: no manifest says how it was made, so it cannot be kept"):
        keep_result(stage.store, stage.job, [])


def test_what_is_gone_cannot_be_kept(stage: Stage) -> None:
    stage.make()
    stage.named.unlink()
    with pytest.raises(StoreError, match="copy.txt: no such file"):
        keep_result(stage.store, stage.job, [])


# What can go


def age(path: Path, days: float) -> None:
    """Set a folder's last use back."""
    used = time.time() - days * 86400
    for part in (path, path / "manifest.json"):
        if part.exists():
            os.utime(part, (used, used))


def test_only_results_without_a_name_can_go(stage: Stage) -> None:
    first = stage.make()
    stage.change(spec={"rate": 2})
    second = stage.make()
    for manifest in (first, second):
        age(stage.folder(manifest), 10)
    assert list_unused(stage.store, 0) == list_unused(stage.store, 9) == [stage.folder(first)]
    assert list_unused(stage.store, 11) == []
    stage.named.unlink()
    assert set(list_unused(stage.store, 0)) == {stage.folder(first), stage.folder(second)}


def test_what_was_found_lately_stays(stage: Stage) -> None:
    first = stage.make()
    age(stage.folder(first), 10)
    stage.make()
    stage.change(spec={"rate": 2})
    stage.make()
    assert list_unused(stage.store, 9) == []


def test_what_was_used_a_moment_ago_stays(stage: Stage) -> None:
    """It may be about to be linked."""
    stage.make()
    stage.named.unlink()
    assert list_unused(stage.store, 0) == []


def test_work_goes_when_no_job_wants_it_or_its_result_is_there(stage: Stage) -> None:
    def fail(outputs: dict[str, list[Path]], work: Path) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        stage.make(fail)
    work = work_folder(stage.store, "copy_pages", stage.key())
    age(work, 10)
    assert list_unused(stage.store, 0) == [], "the job can be run again"
    stage.change(spec={"rate": 2})
    manifest = stage.make()
    left = work_folder(stage.store, "copy_pages", manifest.key)
    left.mkdir()
    age(left, 10)
    assert set(list_unused(stage.store, 0)) == {work, left}


def test_work_in_progress_stays(stage: Stage) -> None:
    later = Stage(stage.results)
    later.change(spec={"rate": 9})

    def compute(outputs: dict[str, list[Path]], work: Path) -> None:
        stage.compute(outputs, work)
        later.make()
        age(work, 10)
        assert is_locked(work)
        assert list_unused(stage.store, 0) == []

    with pytest.raises(StoreError, match="not linked"):
        stage.make(compute)
    assert not is_locked(work_folder(stage.store, "copy_pages", stage.key()))


def test_half_removed_and_damaged_results_can_go(stage: Stage) -> None:
    manifest = stage.make()
    overwrite(stage.stored(manifest), "damaged")
    stage.make()
    stage.named.unlink()
    (stage.folder(manifest) / "manifest.json").unlink()
    age(stage.folder(manifest), 10)
    [aside] = (stage.store / "damaged").iterdir()
    assert set(list_unused(stage.store, 0)) == {aside, stage.folder(manifest)}


def test_a_name_torn_by_a_kill_is_no_name(stage: Stage) -> None:
    stage.make()
    entry = stage.store / "names/out/copy.txt.json"
    assert json.loads(entry.read_text())["stage"] == "copy_pages"
    entry.write_text('{"stage": "copy_')
    assert read_name(stage.store, str(stage.named)) is None
    below(stage).make()
    stage.make()
    assert read_name(stage.store, str(stage.named)) is not None
