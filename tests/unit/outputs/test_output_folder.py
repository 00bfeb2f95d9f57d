from __future__ import annotations

import os
import pickle
import stat

import pytest

from carpool.errors import OutputNotOurs, OutputUnavailable, SpecError
from carpool.outputs import commit
from carpool.outputs.folder import Entry, OutputFolder, for_each
from support.output_runs import LOCAL


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(str(tmp_path / "out"), LOCAL)


def test_what_is_committed_is_read_back(folder):
    folder.commit("deep/er/file.bin", b"\x00content")

    assert folder.read("deep/er/file.bin") == b"\x00content"
    assert folder.exists("deep/er/file.bin")


def test_a_commit_replaces_the_content(folder):
    folder.commit("a", b"a long first content")
    folder.commit("a", b"short")

    assert folder.read("a") == b"short"


def test_what_is_not_there_is_no_error(folder):
    assert folder.read("a") is None
    assert folder.exists("a") is False
    assert folder.list() == ()
    assert folder.list("sub", recursive=True) == ()
    folder.delete("a")
    folder.delete_tree("sub")


def test_a_folder_is_no_file(folder):
    folder.commit("sub/a", b"x")

    assert folder.exists("sub") is False


def test_a_listing_is_sorted_and_names_paths_below_the_folder(folder):
    for name in ("b", "a", "sub/c", "sub/.hidden"):
        folder.commit(name, b"12345")

    assert folder.list() == (
        Entry("a", 5, is_file=True),
        Entry("b", 5, is_file=True),
        Entry("sub", 0, is_file=False),
    )
    assert [entry.path for entry in folder.list("sub")] == ["sub/.hidden", "sub/c"]
    assert [entry.path for entry in folder.list(recursive=True)] == [
        "a",
        "b",
        "sub",
        "sub/.hidden",
        "sub/c",
    ]


def test_a_deleted_tree_is_gone(folder):
    folder.commit("sub/deep/a", b"x")
    folder.commit("other", b"x")

    folder.delete_tree("sub")

    assert [entry.path for entry in folder.list(recursive=True)] == ["other"]


def test_the_end_of_a_file_is_read_without_the_rest(folder):
    folder.commit("a", b"0123456789")

    assert folder.read_end("a", 10, 3) == b"789"
    assert folder.read_end("a", 10, 100) == b"0123456789"


@pytest.mark.parametrize("uri", ["{}/out/", "file://{}/out"])
def test_a_uri_may_end_in_a_slash_or_have_a_scheme(tmp_path, uri):
    folder = OutputFolder(uri.format(tmp_path), LOCAL)

    folder.commit("a", b"x")

    assert (tmp_path / "out" / "a").read_bytes() == b"x"
    assert [entry.path for entry in folder.list()] == ["a"]


def test_a_uri_of_no_known_storage_is_a_fault_of_the_spec():
    with pytest.raises(SpecError, match="nosuch"):
        OutputFolder("nosuch://somewhere/out", LOCAL)


def test_permissions_follow_the_umask_not_those_of_temporary_files(folder, tmp_path):
    folder.commit("a", b"x")
    (tmp_path / "plain").touch()

    assert stat.S_IMODE((tmp_path / "out/a").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_a_failed_rename_leaves_nothing_behind(folder, tmp_path):
    (tmp_path / "out/a/b").mkdir(parents=True)

    with pytest.raises(OutputUnavailable, match=r"cannot write .*/out/a: .*directory"):
        folder.commit("a", b"x")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda folder: folder.commit("a", b"x"),
        lambda folder: folder.commit("a/b", b"x"),
        lambda folder: folder.list(),
        lambda folder: folder.read("a"),
    ],
)
def test_a_file_in_the_place_of_the_folder_is_not_ours(tmp_path, attempt):
    (tmp_path / "out").write_text("I am a file")

    with pytest.raises(OutputNotOurs, match=r"out.*spec\.output\.uri"):
        attempt(OutputFolder(str(tmp_path / "out"), LOCAL))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_missing_permission_could_pass(folder, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)

    with pytest.raises(OutputUnavailable, match="Permission denied") as caught:
        folder.commit("a", b"x")

    assert caught.value.retryable


def test_sweeping_removes_what_interrupted_commits_left_and_nothing_else(folder, tmp_path):
    kept = ["sub/a", "sub/.hidden", "sub/deep/b"]
    for name in kept:
        folder.commit(name, b"x")
    for _ in range(2):
        (tmp_path / "out/sub" / commit._temporary_name("a")).write_bytes(b"part")

    assert folder.sweep(["", "sub", "missing"]) == 2
    assert [entry.path for entry in folder.list(recursive=True) if entry.is_file] == sorted(kept)


def test_a_file_system_without_replacing_renames_gets_a_file_and_a_move(tmp_path):
    """HDFS and the like, here an in-memory file system of pyarrow."""
    from pyarrow.fs import FileSelector, _MockFileSystem

    filesystem = _MockFileSystem()
    commit.commit_bytes(filesystem, "out/sub/a", b"old")
    commit.commit_bytes(filesystem, "out/sub/a", b"new")

    assert filesystem.open_input_file("out/sub/a").read() == b"new"
    assert len(filesystem.get_file_info(FileSelector("out/sub"))) == 1
    assert commit.keeps_temporaries(filesystem)


def test_a_folder_travels_to_other_processes(folder):
    folder.commit("a", b"x")

    travelled = pickle.loads(pickle.dumps(folder))  # noqa: S301 - its own pickle
    assert travelled.read("a") == b"x"


def test_work_on_many_items_answers_in_order_and_passes_errors_on():
    assert for_each(lambda item: item * 2, range(50)) == [item * 2 for item in range(50)]
    with pytest.raises(ZeroDivisionError):
        for_each(lambda item: 1 // item, [1, 0])
