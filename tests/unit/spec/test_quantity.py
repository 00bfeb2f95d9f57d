from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import SpecError
from carpool.spec import cpu_millis, quantity_bytes, spark_memory


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("1", 1),
        ("1500", 1500),
        ("1k", 1000),
        ("1Ki", 1024),
        ("500M", 500_000_000),
        ("512Mi", 536_870_912),
        ("8G", 8_000_000_000),
        ("8Gi", 8_589_934_592),
        ("1.5Gi", 1_610_612_736),
        ("0.5Gi", 536_870_912),
        ("0.001Ki", 2),  # 1.024 bytes, rounded up
        ("2Ti", 2_199_023_255_552),
        ("1Pi", 1_125_899_906_842_624),
    ],
)
def test_bytes(quantity, expected):
    assert quantity_bytes(quantity) == expected


@pytest.mark.parametrize(
    "quantity", ["", "0", "0Gi", "-1Gi", "8g", "8GB", "500m", "1e3", " 8Gi", "8 Gi", "8Gi\n", "٣Gi"]
)
def test_what_is_no_size_is_refused(quantity):
    with pytest.raises(SpecError, match="expected a size as a Kubernetes quantity"):
        quantity_bytes(quantity)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("1", 1000), ("2.5", 2500), ("0.5", 500), ("0.050", 50), ("500m", 500), ("1500m", 1500)],
)
def test_millis(quantity, expected):
    assert cpu_millis(quantity) == expected


@pytest.mark.parametrize(
    "quantity", ["", "0", "0m", "0.0", "-1", "1.5m", "1Gi", "2 ", "two", "2\n"]
)
def test_what_is_no_cpu_is_refused(quantity):
    with pytest.raises(SpecError, match="expected an amount of CPU"):
        cpu_millis(quantity)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("8Gi", "8192m"), ("1Mi", "1m"), ("1G", "953m"), ("1.5Gi", "1536m"), ("2000000", "1m")],
)
def test_spark_gets_whole_mebibytes(quantity, expected):
    assert spark_memory(quantity) == expected


def test_spark_cannot_have_less_than_a_mebibyte():
    with pytest.raises(SpecError, match='expected at least "1Mi" of memory for Spark, found "1M"'):
        spark_memory("1M")


@settings(max_examples=50)
@given(st.integers(1, 10**9), st.sampled_from(["Mi", "Gi", "M", "G"]))
def test_spark_never_gets_more_than_was_granted(number, suffix):
    quantity = f"{number + 1}{suffix}"
    granted = quantity_bytes(quantity)
    spark = int(spark_memory(quantity).removesuffix("m")) * 1024**2
    assert granted - 1024**2 < spark <= granted
