"""What Spark hands over, taken apart: Series, tuples of Series, structs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from carpool.udf.columns import rows_of

A = pd.Series([1.0, 2.0])
B = pd.Series([3, 4])
TENSOR = pd.Series([np.arange(4.0), np.arange(4.0)])
TEXT = pd.Series(["x", "y"], dtype="str")


def test_several_columns_come_as_a_tuple_and_are_separate():
    rows = rows_of((A, B), None)
    assert rows.record.separate
    assert [field.dtype for field in rows.record.fields] == ["<f8", "<i8"]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": A, "b": B}),
        pd.DataFrame({"a": B, "b": B.astype("int32")}),
        pd.DataFrame({"a": A, "b": TEXT}),
        pd.DataFrame({"a": B, "b": B > 3}),
        pd.DataFrame({"a": A, "b": pd.Series([1, None], dtype="Int32")}),
    ],
)
def test_a_struct_has_the_common_type_that_pandas_gives(frame):
    rows = rows_of(frame, None)
    assert not rows.record.separate
    assert np.dtype(rows.record.common) == frame.to_numpy().dtype


def test_arrays_with_a_shape_are_stacked_and_others_stay_objects():
    rows = rows_of((A, TENSOR), [None, [2, 2]])
    assert rows.record.tensors
    assert rows.record.fields[1].shape == (4,)
    assert rows_of((A, TENSOR), [None, None]).record.fields[1].dtype == "|O"


def test_arrays_need_a_shape():
    with pytest.raises(ValueError, match="Tensor columns require input_tensor_shapes"):
        rows_of(TENSOR, None)


def test_arrays_of_unequal_length_have_no_shape():
    with pytest.raises(ValueError, match="dimensions"):
        rows_of(pd.Series([np.arange(2), np.arange(3)]), [[2]])


def test_no_rows_are_nothing():
    assert rows_of(A.iloc[:0], None) is None
