from __future__ import annotations

import hashlib
import struct
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import OutputNotOurs, OutputUnavailable
from carpool.outputs.folder import OutputFolder
from carpool.outputs.parquet import encode, parse_footer
from carpool.outputs.result_hash import result_hash
from support.output_runs import LOCAL, Job, Video, rows_seen, run

VIDEOS = (Video("a.mp4"), Video("sub/b.mp4"))
PATHS = {video.uri: video.path for video in VIDEOS}


def hash_of(job: Job) -> str:
    with tempfile.TemporaryDirectory() as root:
        folder = OutputFolder(root, LOCAL)
        run(folder, job)
        return result_hash(folder)


@pytest.fixture
def folder(tmp_path):
    folder = OutputFolder(str(tmp_path), LOCAL)
    run(folder, Job("job", VIDEOS))
    return folder


def change(folder, table, edit):
    """Rewrite the first file of a table, facts and all."""
    path = folder.list(table)[0].path
    content = folder.read(path)
    edited = edit(pq.read_table(pa.BufferReader(content)))
    folder.commit(path, encode(edited, parse_footer(content).facts))


def set_value(column, value, row=3):
    def edit(table):
        values = table.column(column).to_pylist()
        values[row] = value
        place = table.schema.get_field_index(column)
        field = table.schema.field(column)
        return table.set_column(place, field, pa.array(values, field.type))

    return edit


def test_it_is_what_the_sorted_rows_packed_one_by_one_give(folder):
    """An independent account of the same definition, row by row."""
    digest = hashlib.sha256()
    for table in ("detections", "tracks"):
        rows = rows_seen(folder.uri, table)
        for path, uri in sorted((video.path, video.uri) for video in VIDEOS):
            own = sorted(
                (
                    row["frame_index"],
                    row["pts_ns"],
                    row["class_id"],
                    *(row[name] for name in ("score", "x1", "y1", "x2", "y2")),
                    row.get("track_id", -1),
                )
                for row in rows
                if row["video_uri"] == uri
            )
            digest.update(f"{table}\n{path}\n{len(own)}\n".encode())
            for row in own:
                digest.update(struct.pack("<qqifffffq", *row))

    assert result_hash(folder) == digest.hexdigest()


cuts = st.lists(st.integers(1, 19), max_size=4, unique=True).map(lambda each: tuple(sorted(each)))
WHOLE = hash_of(Job("job", tuple(Video(video.path, cuts=()) for video in VIDEOS)))


@settings(max_examples=15, deadline=None)
@given(
    first=cuts,
    second=cuts,
    root=st.sampled_from(["file:///x", "s3://bucket"]),
    turned=st.booleans(),
)
def test_it_does_not_depend_on_the_cut_nor_on_the_place(first, second, root, turned):
    videos = (Video("a.mp4", cuts=first, root=root), Video("sub/b.mp4", cuts=second, root=root))

    assert hash_of(Job("job", videos[::-1] if turned else videos, fingerprint=root)) == WHOLE


def test_it_does_not_depend_on_row_groups_nor_on_the_order_of_rows(folder):
    before = result_hash(folder)

    def shuffle(table):
        return table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows)))

    change(folder, "detections", shuffle)
    change(folder, "tracks", shuffle)

    assert result_hash(folder) == before


@pytest.mark.parametrize("table", ["detections", "tracks"])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("frame_index", 77),
        ("pts_ns", 1),
        ("class_id", 9),
        ("score", float(np.nextafter(np.float32(0.5), np.float32(1)))),
        ("x1", 0.5),
        ("y1", 0.5),
        ("x2", 0.5),
        ("y2", 0.5),
    ],
)
def test_any_change_of_a_row_changes_it(folder, table, column, value):
    before = result_hash(folder)

    change(folder, table, set_value(column, value))

    assert result_hash(folder) != before


def test_a_change_of_a_track_id_changes_it(folder):
    before = result_hash(folder)

    change(folder, "tracks", set_value("track_id", 99))

    assert result_hash(folder) != before


@pytest.mark.parametrize(
    "edit",
    [
        lambda table: table.slice(1),
        lambda table: pa.concat_tables([table, table.slice(0, 1)]),
    ],
    ids=["a lost row", "a repeated row"],
)
def test_a_lost_or_repeated_row_changes_it(folder, edit):
    before = result_hash(folder)

    change(folder, "detections", edit)

    assert result_hash(folder) != before


def test_names_are_not_part_of_it_but_numbers_are(folder):
    before = result_hash(folder)

    change(folder, "detections", set_value("class_name", "lorry"))

    assert result_hash(folder) == before


def test_zero_has_no_sign():
    def with_zero(zero):
        with tempfile.TemporaryDirectory() as root:
            folder = OutputFolder(root, LOCAL)
            run(folder, Job("job", VIDEOS))
            change(folder, "detections", set_value("x1", zero))
            return result_hash(folder)

    assert with_zero(0.0) == with_zero(-0.0)


def test_rows_of_one_video_are_not_those_of_another(folder):
    swapped = dict(zip(PATHS, reversed(PATHS.values()), strict=True))

    assert result_hash(folder, PATHS) == result_hash(folder)
    assert result_hash(folder, swapped) != result_hash(folder)


def test_without_a_manifest_it_needs_the_paths(folder):
    folder.delete("_manifest.json")

    with pytest.raises(OutputUnavailable, match="not finished"):
        result_hash(folder)
    assert result_hash(folder, PATHS)


def test_rows_of_an_unknown_video_are_refused(folder):
    with pytest.raises(OutputNotOurs, match=r"sub/b\.mp4 is not an input"):
        result_hash(folder, {VIDEOS[0].uri: "a.mp4"})


def test_rows_in_the_file_of_another_video_are_refused(folder):
    change(folder, "detections", set_value("video_uri", VIDEOS[1].uri))

    with pytest.raises(OutputNotOurs, match="but its footer says"):
        result_hash(folder)


def test_an_empty_result_has_a_hash(tmp_path):
    folder = OutputFolder(str(tmp_path), LOCAL)

    assert result_hash(folder, {}) == hashlib.sha256().hexdigest()
