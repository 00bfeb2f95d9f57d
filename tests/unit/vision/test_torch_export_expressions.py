"""Sizes and guards: what torch would evaluate, held to a grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.errors import ModelUnsafe
from carpool.vision.torch_export.expressions import check_expression, check_guard, symbol_of
from carpool.vision.torch_export.place import Place

PLACE = Place("model.pt2")
S0 = "Symbol('s0', positive=True, integer=True)"


@pytest.mark.parametrize(
    "text",
    [
        S0,
        "Integer(-3)",
        f"Add(Mul(Integer(2), {S0}), Integer(1))",
        f"FloorDiv({S0}, Integer(2))",
        f"Pow({S0}, Integer(2))",
        "Rational(1, 2)",
        "Float('0.5', precision=53)",
        f"And(GreaterThan({S0}, Integer(2)), Equality(Mod({S0}, Integer(2)), Integer(0)))",
        "true",
    ],
)
def test_what_sympy_writes_passes(text):
    check_expression(text, PLACE)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "s0",
        "Symbol('s0; import os')",
        "Symbol('Integer')",
        "Symbol('s0', evil=True)",
        f"Symbol('s0', positive={S0})",
        "Integer('3')",
        "Integer(True)",
        "Integer(3, evaluate=False)",
        f"Integer({2**63 + 1})",
        "Integer(9).__class__",
        "Lambda(Symbol('s0'), Integer(1))",
        "lambdify(Symbol('s0'), Integer(1))",
        "[Integer(1) for i in (1,)]",
        "Add(*[Integer(1)])",
        "Add(Integer(1), **{})",
        # Numbers that would take for ever to compute.
        "Pow(Integer(9), Pow(Integer(9), Integer(9)))",
        "Pow(Integer(9), Integer(99999999999))",
        "Pow(Pow(Integer(9), Integer(8)), Integer(8))",
        "LShift(Integer(1), Integer(999999999999))",
        "factorial(Integer(99999999))",
        "Float('1e99999999')",
        "(" * 500 + "true" + ")" * 500,
        "-" * 4000 + "1",
        "Add(" * 60 + "true" + ")" * 60,
        "true" + " " * 5000,
        "true\x00",
        "",
    ],
    ids=lambda text: text[:40],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ModelUnsafe, match="torch would evaluate as Python"):
        check_expression(text, PLACE)


@given(st.text(max_size=60))
def test_no_text_passes_by_chance(text):
    if text.strip() in {"true", "false"}:
        return
    with pytest.raises(ModelUnsafe):
        check_expression(text, PLACE)


def test_a_symbol_is_told_from_an_expression():
    assert symbol_of(S0) == "s0"
    assert symbol_of(f"Add({S0}, Integer(1))") is None


@pytest.mark.parametrize(
    "text",
    [
        "L['images'].size()[0] == 2*L['images'].size()[2]",
        "2 <= L['images'].size()[0] and L['images'].size()[0] <= 64",
        "Ne(L['args'][0][1].stride()[0] % 2, 0)",
        "not (L['images'].size()[3] == -1)",
    ],
)
def test_guards_that_compare_sizes_pass(text):
    check_guard(text, PLACE)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('a')",
        "L['images'].__class__",
        "L['images'].size().__class__()",
        "L['a\\n'].size()[0] == 2",
        "L['images'].size(__import__('os'))[0] == 1",
        "(lambda: 1)() == 1",
        "[L for L in (1,)]",
        "f'{L}' == 1",
        "L['images'].size()[0] ** 9 == 1",
        "globals()['a'] == 1",
        "True\n",
        "x := 1",
    ],
)
def test_other_guards_are_refused(text):
    if text == "True\n":
        check_guard(text, PLACE)  # a line break after it changes nothing
        return
    with pytest.raises(ModelUnsafe):
        check_guard(text, PLACE)
