"""`carpool.predict_batch_udf` in a user's own Spark program: what it gives, and who loads when."""

from __future__ import annotations

import datetime as dt
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.errors import PythonException
from pyspark.sql.functions import array, col, lit, struct
from pyspark.sql.types import (
    ArrayType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from carpool import predict_batch_udf
from support.host_process import PATIENCE, process_ends
from support.udf_functions import doubling, giving, loads, noting_loads

pytestmark = pytest.mark.spark

DATA = np.arange(48, dtype=np.float64).reshape(12, 4)


@pytest.fixture(scope="module")
def scalars(spark):
    """Four columns of doubles, twelve rows in two tasks."""
    return spark.createDataFrame(pd.DataFrame(DATA, columns=list("abcd"))).repartition(2)


def collected(frame, prediction):
    """Rows with their prediction, in the order of column a."""
    return frame.withColumn("p", prediction).orderBy("a").toPandas()["p"].tolist()


def test_all_tasks_share_one_load_and_each_function_has_its_own(spark, tmp_path):
    frame = spark.range(0, 4000, 1, 8)
    first = predict_batch_udf(
        noting_loads(tmp_path / "first", lambda x: x * 2), return_type=LongType(), batch_size=64
    )
    again = predict_batch_udf(
        noting_loads(tmp_path / "again", lambda x: x * 2), return_type=LongType(), batch_size=64
    )
    for _ in range(2):  # the second query finds the model loaded
        rows = frame.select("id", first("id").alias("p"), again("id").alias("q")).collect()
        assert [(row.id, row.p, row.q) for row in sorted(rows)] == [
            (n, 2 * n, 2 * n) for n in range(4000)
        ]
    (one,), (other,) = loads(tmp_path / "first"), loads(tmp_path / "again")
    assert one != other


def test_rows_of_different_tasks_share_batches_up_to_the_batch_size(spark):
    def make():
        from threading import get_ident

        def predict(x):
            return {"size": np.full(len(x), len(x)), "thread": np.full(len(x), get_ident() % 997)}

        return predict

    sized = predict_batch_udf(
        make, return_type="struct<size: bigint, thread: bigint>", batch_size=50
    )
    found = spark.range(0, 1000, 1, 2).select(sized("id").alias("p")).select("p.*").toPandas()
    assert found["size"].max() == 50
    assert set(found["thread"]) == {found["thread"][0]}


def test_a_function_of_one_argument_takes_one_column_however_it_is_named(scalars):
    double = predict_batch_udf(doubling, return_type=DoubleType(), batch_size=5)
    expected = (DATA[:, 0] * 2).tolist()
    for column in (struct("a"), col("a"), "a"):
        assert collected(scalars, double(column)) == expected


def test_a_struct_of_scalars_is_one_array_and_single_columns_are_refused(scalars):
    def make():
        return lambda values: values.sum(axis=1)

    total = predict_batch_udf(make, return_type=DoubleType(), batch_size=5)
    shaped = predict_batch_udf(
        make, return_type=DoubleType(), batch_size=5, input_tensor_shapes=[[4]]
    )
    for function in (total, shaped):
        assert collected(scalars, function(struct(*"abcd"))) == DATA.sum(axis=1).tolist()
    with pytest.raises(PythonException, match="Multiple input columns found, but model expected"):
        scalars.select(total("a", "b")).collect()


def test_a_function_of_several_arguments_takes_a_column_each(scalars):
    def make():
        return lambda a, b: {"x": a, "y": b}

    pair = predict_batch_udf(make, return_type="struct<x: double, y: double>", batch_size=5)
    for columns in ((struct("a", "b"),), (col("a"), col("b")), ("a", "b")):
        found = collected(scalars, pair(*columns))
        assert [[row["x"], row["y"]] for row in found] == DATA[:, :2].tolist()
    with pytest.raises(PythonException, match="Model expected 2 inputs, but received 3 columns"):
        scalars.select(pair("a", "b", "c")).collect()


def test_arrays_take_the_shape_that_is_given_by_list_or_by_index(scalars):
    def make():
        def predict(a, tensor):
            assert tensor.shape[1:] == (2, 2)
            return a + tensor.sum(axis=(1, 2))

        return predict

    expected = (DATA[:, 0] + DATA.sum(axis=1)).tolist()
    for shapes in ([None, [2, 2]], [[], [2, 2]], {1: [2, 2]}):
        mixed = predict_batch_udf(
            make, return_type=DoubleType(), batch_size=5, input_tensor_shapes=shapes
        )
        assert collected(scalars, mixed("a", array(*"abcd"))) == expected


def test_what_does_not_fit_the_shapes_is_an_error_that_says_so(scalars):
    def total(shapes):
        return predict_batch_udf(
            lambda: lambda x: x.sum(axis=1),
            return_type=DoubleType(),
            batch_size=5,
            input_tensor_shapes=shapes,
        )

    for shapes, column, said in (
        ([[3]], struct(*"abcd"), "Input data does not match expected shape."),
        ([[4], [4]], struct(*"abcd"), "Multiple input_tensor_shapes found"),
        (None, array(*"abcd"), "Tensor columns require input_tensor_shapes"),
    ):
        with pytest.raises(PythonException, match=said):
            scalars.select(total(shapes)(column)).collect()


def test_arrays_come_back_as_arrays_and_structs_by_column_or_by_row(scalars):
    def columns():
        return lambda a, t: {"x": a * 2, "y": t.astype(np.float32) * 3}

    def rows():
        return lambda a, t: [{"y": v * 3, "x": u * 2} for u, v in zip(a, t, strict=True)]

    kind = StructType([StructField("x", DoubleType()), StructField("y", ArrayType(DoubleType()))])
    for make in (columns, rows):
        both = predict_batch_udf(
            make, return_type=kind, batch_size=5, input_tensor_shapes=[[], [3]]
        )
        found = collected(scalars, both("a", array("b", "c", "d")))
        assert [row["x"] for row in found] == (DATA[:, 0] * 2).tolist()
        assert np.array_equal(np.vstack([row["y"] for row in found]), DATA[:, 1:] * 3)
    thrice = predict_batch_udf(
        lambda: lambda t: t * 3,
        return_type=ArrayType(FloatType()),
        batch_size=5,
        input_tensor_shapes=[[4]],
    )
    assert np.array_equal(np.vstack(collected(scalars, thrice(array(*"abcd")))), DATA * 3)


def test_one_row_is_a_batch(spark):
    frame = spark.createDataFrame([([0.0, 1.0, 2.0], [3.0])], ["t", "u"])
    total = predict_batch_udf(
        lambda: lambda t, u: t.sum(axis=1) + u.sum(axis=1),
        return_type=FloatType(),
        batch_size=1,
        input_tensor_shapes=[[3], [1]],
    )
    assert frame.select(total("t", "u")).first()[0] == 6.0


def test_texts_grow_past_any_first_guess_in_both_directions(spark):
    frame = spark.range(0, 300, 1, 2).selectExpr(
        "id", "repeat(cast(id as string), cast(pow(id, 1.6) as int)) as text"
    )
    echo = predict_batch_udf(
        lambda: lambda x: np.array([text[::-1] for text in x], object),
        return_type=StringType(),
        batch_size=16,
    )
    for row in frame.withColumn("p", echo("text")).collect():
        assert row.p == row.text[::-1]


def test_values_reach_the_function_as_pandas_gives_them(spark):
    frame = spark.sql(
        "select 1 as a, cast('xy' as binary) as b, cast(1.5 as decimal(5, 2)) as c, "
        "date'2024-02-29' as d, true as e, array('p', null) as f, cast(null as string) as g"
    )

    def make():
        def predict(a, b, c, d, e, f, g):  # noqa: PLR0917 - a parameter a column
            return np.array([repr((a[0], b[0], c[0], d[0], e[0], f[0].tolist(), g[0]))])

        return predict

    seen = predict_batch_udf(
        make, return_type=StringType(), batch_size=4, input_tensor_shapes=[[]] * 7
    )
    expected = (
        np.int32(1), b"xy", Decimal("1.50"), dt.date(2024, 2, 29), np.True_, ["p", None]
    )  # fmt: skip
    found = frame.select(seen(*"abcdefg")).first()[0]
    assert found.startswith(repr(expected)[:-1])


def test_a_bad_row_fails_with_the_words_of_the_function_and_its_place(spark, tmp_path):
    def predict(x):
        if 500 in x:
            raise ValueError(f"no prediction for {int(x.max())}")
        return x

    picky = predict_batch_udf(
        noting_loads(tmp_path / "loads", predict), return_type=LongType(), batch_size=64
    )
    frame = spark.range(0, 1000, 1, 4)
    with pytest.raises(PythonException, match="ValueError: no prediction for 500") as failure:
        frame.select(picky("id")).collect()
    assert 'raise ValueError(f"no prediction' in str(failure.value)
    # The host is as well as before, and still the same.
    assert frame.where("id != 500").select(picky("id")).count() == 999
    assert len(frame.where("id != 500").select(picky("id")).collect()) == 999
    assert len(loads(tmp_path / "loads")) == 1


@pytest.mark.parametrize(
    ("kind", "result", "said"),
    [
        (DoubleType(), np.zeros(7), "must have same length as input data"),
        (DoubleType(), [1.0], "must be an ndarray"),
        (ArrayType(DoubleType()), np.zeros(1), "must be two-dimensional"),
        (
            StructType([StructField("x", IntegerType())]),
            {"y": np.zeros(1)},
            "columns did not match",
        ),
    ],
)
def test_what_is_not_of_the_return_type_is_an_error(spark, kind, result, said):
    wrong = predict_batch_udf(giving(result), return_type=kind, batch_size=8)
    with pytest.raises(PythonException, match=said):
        spark.range(1).select(wrong("id")).collect()


def test_a_model_that_cannot_be_built_ends_the_query_at_once_and_says_why(spark):
    def make():
        raise FileNotFoundError("/models/resnet.pt is not there")

    broken = predict_batch_udf(make, return_type=DoubleType(), batch_size=8)
    with pytest.raises(PythonException, match=r"make failed: FileNotFoundError: .*resnet\.pt"):
        spark.range(0, 10, 1, 4).select(broken("id")).collect()


def test_a_task_that_is_not_read_to_its_end_leaves_the_host_usable(spark):
    double = predict_batch_udf(doubling, return_type=LongType(), batch_size=8)
    frame = spark.range(0, 50_000, 1, 2).select(double("id").alias("p"))
    assert len(frame.limit(3).collect()) == 3
    assert frame.selectExpr("sum(p)").first()[0] == 50_000 * 49_999


def test_neither_worker_nor_host_imports_what_it_has_no_use_for(spark):
    def make():
        import sys as here

        def predict(x):
            unwanted = {"pyspark", "pandas", "pydantic", "torch"} & set(here.modules)
            return np.full(len(x), ",".join(sorted(unwanted)), object)

        return predict

    seen = predict_batch_udf(make, return_type=StringType(), batch_size=8)
    assert spark.range(1).select(seen("id")).first()[0] == ""

    def opened_in_the_worker(_):
        return [sorted({"torch", "pydantic"} & set(sys.modules))]

    assert spark.sparkContext.parallelize([1], 1).mapPartitions(opened_in_the_worker).first() == []


def test_a_host_that_nobody_needs_ends_and_comes_back_when_somebody_does(
    spark, tmp_path, monkeypatch
):
    monkeypatch.setenv("CARPOOL_UDF_IDLE_SECONDS", "0.5")
    notes = Path(tmp_path / "loads")
    double = predict_batch_udf(
        noting_loads(notes, lambda x: x * 2), return_type=LongType(), batch_size=8
    )
    query = spark.range(0, 100, 1, 2).select(double(col("id") + lit(0)).alias("p"))
    assert query.selectExpr("sum(p)").first()[0] == 9900
    assert process_ends(loads(notes)[-1], PATIENCE)
    assert query.selectExpr("sum(p)").first()[0] == 9900
    assert len(loads(notes)) == 2
