from __future__ import annotations

from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carpool.inputs.globs import is_recursive, matches, split_pattern


@pytest.mark.parametrize(
    ("path", "folder", "pattern"),
    [
        ("/data/*.mp4", "/data", "*.mp4"),
        ("/data/cam-?/x.mp4", "/data", "cam-?/x.mp4"),
        ("bucket/2022/**/a.mp4", "bucket/2022", "**/a.mp4"),
        ("/*.mp4", "/", "*.mp4"),
    ],
)
def test_the_fixed_folder_ends_before_the_first_wildcard(path, folder, pattern):
    assert split_pattern(path) == (folder, pattern)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.mp4", ["a.mp4", "a b.mp4"], ["a/b.mp4", ".hidden.mp4", "a.mp4x", "a.MP4"]),
        ("cam-?/[ab]*.mp4", ["cam-1/a.mp4", "cam-2/bc.mp4"], ["cam-10/a.mp4", "cam-1/c.mp4"]),
        ("[!a]x", ["bx"], ["ax", "/x"]),
        ("**/x.mp4", ["x.mp4", "a/x.mp4", "a/b/x.mp4"], ["a/.git/x.mp4", "a/yx.mp4"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "a/.b", "b/a/c"]),
        ("**", ["a", "a/b/c"], [".a", "a/.b/c"]),
        ("a/**/b/**", ["a/b/c", "a/x/b/c/d"], ["a/b", "a/x/c"]),
        ("[x", ["[x"], ["x"]),
        ("a+(b).mp4", ["a+(b).mp4"], ["aab.mp4"]),
        (".mp4*", [".mp4x"], ["mp4"]),
    ],
)
def test_patterns_match_as_in_the_shell(pattern, matching, other):
    assert [name for name in matching if not matches(pattern, name)] == []
    assert [name for name in other if matches(pattern, name)] == []


def test_only_deep_patterns_list_folders_below():
    assert not is_recursive("*.mp4")
    assert is_recursive("*/a.mp4")
    assert is_recursive("**")


_names = st.text("ab.", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        _names | st.sampled_from(["*", "**", "a*", "?", "[ab]", "*.b"]), min_size=1, max_size=4
    ),
    st.lists(st.lists(_names, min_size=1, max_size=4).map("/".join), max_size=6),
)
@example(["a", "**"], ["a"])
def test_files_match_as_the_standard_librarys_glob_finds_them(segments, files):
    with TemporaryDirectory() as folder:
        made = set()
        for name in files:
            path = Path(folder) / name
            if not any(parent.is_file() for parent in path.parents) and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                made.add(name)
        pattern = "/".join(segments)
        named = glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 - rglob finds dots
        # To `a/**` it gives the file a as `a/`, which names none.
        found = {name for name in named if name[-1:] != "/" and (Path(folder) / name).is_file()}
        assert {name for name in made if matches(pattern, name)} == found
