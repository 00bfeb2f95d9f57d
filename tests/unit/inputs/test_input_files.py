from __future__ import annotations

import pytest

from carpool.errors import InputUnavailable, NoInput, SpecError
from carpool.inputs.filesystem import StorageOptions, expand, resolve
from support.s3 import flaky_s3

LOCAL = StorageOptions()
TREE = ["a.mp4", "b.mp4", "notes.txt", "day 1/c#1.mp4", "day 1/deep/d.mp4", ".hidden.mp4"]


@pytest.fixture
def tree(tmp_path):
    for name in TREE:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "tree"


def paths(files):
    return [file.path for file in files]


def test_a_plain_file_is_itself(tree):
    (file,) = expand([str(tree / "a.mp4")], LOCAL)
    assert (file.path, file.size, file.uri) == ("a.mp4", 5, (tree / "a.mp4").as_uri())
    assert file.modified_ns == (tree / "a.mp4").stat().st_mtime_ns


def test_a_pattern_gives_sorted_paths_below_its_fixed_part(tree):
    assert paths(expand([f"{tree}/*.mp4"], LOCAL)) == ["a.mp4", "b.mp4"]
    assert paths(expand([f"{tree}/**/*.mp4"], LOCAL)) == [
        "a.mp4",
        "b.mp4",
        "day 1/c#1.mp4",
        "day 1/deep/d.mp4",
    ]


def test_a_folder_stands_for_the_files_in_it(tree):
    assert paths(expand([f"{tree}/"], LOCAL)) == ["a.mp4", "b.mp4", "notes.txt"]


def test_a_file_that_two_patterns_name_comes_once(tree):
    files = expand([f"{tree}/*.mp4", f"{tree}/a.mp4", (tree / "a.mp4").as_uri()], LOCAL)
    assert paths(files) == ["a.mp4", "b.mp4"]


def test_a_uri_with_escapes_names_the_same_file_as_its_path(tree):
    plain = tree / "day 1" / "c#1.mp4"
    assert expand([plain.as_uri()], LOCAL) == expand([str(plain)], LOCAL)


def test_a_relative_path_is_relative_to_the_working_folder(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert expand(["a.mp4"], LOCAL) == expand([str(tree / "a.mp4")], LOCAL)


def test_a_file_whose_name_looks_like_a_pattern_can_be_named(tree):
    (tree / "cam[1].mp4").write_text("x")
    assert paths(expand([f"{tree}/cam[1].mp4"], LOCAL)) == ["cam[1].mp4"]


@pytest.mark.parametrize("pattern", ["*.avi", "missing.mp4", "missing/*.mp4", "missing/x/y.mp4"])
def test_no_match_is_an_error_that_names_the_pattern(tree, pattern):
    with pytest.raises(NoInput, match="matches no file") as caught:
        expand([f"{tree}/a.mp4", f"{tree}/{pattern}"], LOCAL)
    assert pattern in str(caught.value)


def test_an_unknown_scheme_is_an_error_of_the_spec():
    with pytest.raises(SpecError, match="nowhere://"):
        resolve("nowhere://x/y.mp4", LOCAL)


def test_local_and_remote_copies_of_a_tree_have_the_same_paths(tree, monkeypatch):
    names = [name for name in TREE if not name.startswith(".")]
    with flaky_s3(monkeypatch) as server:
        for name in names:
            server.put(f"in/{name}", tree / name)
        for pattern in ["*.mp4", "**/*.mp4", "day 1/*", "**"]:
            remote = expand([f"s3://{server.bucket}/in/{pattern}"], server.storage)
            local = expand([f"{tree}/{pattern}"], LOCAL)
            assert paths(remote) == paths(local)
            assert [file.size for file in remote] == [file.size for file in local]
        uris = {file.uri for file in remote}
        assert uris == {f"s3://{server.bucket}/in/{name}" for name in names}


def test_storage_that_does_not_answer_could_pass(monkeypatch, unused_port):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    nobody = StorageOptions(f"http://127.0.0.1:{unused_port}", "us-east-1")
    with pytest.raises(InputUnavailable):
        expand(["s3://bucket/*.mp4"], nobody)


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # bound but not listening: connections are refused


def test_a_symlink_is_a_file_under_its_own_name(tree):
    (tree / "z.mp4").symlink_to(tree / "a.mp4")
    assert paths(expand([f"{tree}/z*"], LOCAL)) == ["z.mp4"]
    assert (tree / "z.mp4").as_uri() == expand([f"{tree}/z.mp4"], LOCAL)[0].uri
