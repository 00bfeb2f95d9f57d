"""Symbolic sizes and guards: texts that torch evaluates as Python.

torch hands a size's `expr_str` to `sympy.sympify` and a guard to `exec`; both run any code. Sizes
must therefore be of the form that sympy's `srepr` writes, over a list of functions; guards must be
comparisons over the inputs' sizes. Both are parsed by `ast.parse`, which runs nothing, and held to
their grammar node by node. Numbers are bounded, so that evaluating takes no time worth naming.
"""

from __future__ import annotations

import ast
import re
from typing import NoReturn

from carpool.vision.torch_export.place import Place, shown

SYMBOL = re.compile(r"[a-z]{1,4}[0-9]{1,5}")
"""A size that is known at run time only: s0, u3."""

_MAX_CHARACTERS = 4096
_MAX_DEPTH = 50
_MAX_INTEGER = 1 << 63
_MAX_EXPONENT = 8

_FUNCTIONS = frozenset(
    {
        *("Add", "Mul", "Mod", "Max", "Min", "Abs", "floor", "ceiling"),
        *("FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing", "PythonMod", "Where", "Identity"),
        *("FloorToInt", "CeilToInt", "TruncToInt", "TruncToFloat", "RoundToInt", "ToFloat"),
        *("FloatTrueDiv", "IntTrueDiv"),
        *("Equality", "Unequality", "Eq", "Ne", "Lt", "Le", "Gt", "Ge"),
        *("StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"),
        *("And", "Or", "Not"),
    }
)
_POWERS = frozenset({"Pow", "PowByNatural"})
_ASSUMPTIONS = frozenset(
    {
        *("positive", "negative", "nonnegative", "nonpositive", "nonzero", "zero"),
        *("integer", "rational", "real", "finite", "even", "odd"),
    }
)
_DECIMAL = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:e[+-]?[0-9]{1,3})?")
_NAMES = frozenset({"true", "false"})

_GUARD_NODES = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
    *(ast.Subscript, ast.Load),
)
_GUARD_METHODS = frozenset({"size", "stride", "storage_offset"})
_GUARD_FUNCTIONS = frozenset({"Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Mod", "Max", "Min", "FloorDiv"})
_GUARD_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_expression(text: str, place: Place) -> None:
    """Refuse an `expr_str` that is not of the form sympy's srepr writes.

    Raises:
        ModelUnsafe: it is not.
    """
    _Expression(place, text).check()


def symbol_of(text: str) -> str | None:
    """The symbol's name where an expression, checked before, is nothing but a symbol."""
    match ast.parse(text, mode="eval").body:
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]):
            return name
        case _:
            return None


def check_guard(text: str, place: Place) -> None:
    """Refuse a guard that is anything but comparisons of sizes.

    Raises:
        ModelUnsafe: it is.
    """
    for node in ast.walk(_parse(text, place)):
        match node:
            case ast.Name(id="L") | ast.Constant(value=bool()):
                allowed = True
            case ast.Constant(value=int(number)):
                allowed = abs(number) <= _MAX_INTEGER
            case ast.Constant(value=str(key)):
                allowed = _GUARD_KEY.fullmatch(key) is not None
            case ast.Name(id=name):
                allowed = name in _GUARD_FUNCTIONS
            case ast.Call(func=ast.Attribute(), args=[], keywords=[]):
                allowed = True
            case ast.Call(func=ast.Name(id=name), keywords=[]):
                allowed = name in _GUARD_FUNCTIONS
            case ast.Attribute(attr=method):
                allowed = method in _GUARD_METHODS
            case _:
                allowed = isinstance(node, _GUARD_NODES)
        if not allowed:
            raise _refused("guard", text, place)


class _Expression:
    def __init__(self, place: Place, text: str) -> None:
        self._place, self._text = place, text

    def check(self) -> None:
        self._value(_parse(self._text, self._place).body, _MAX_DEPTH)

    def _value(self, node: ast.expr, depth: int) -> None:
        if depth == 0:
            self._refuse()
        match node:
            case ast.Name(id=name) if name in _NAMES:
                return
            case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))]):
                if not SYMBOL.fullmatch(name) or not all(map(_is_assumption, node.keywords)):
                    self._refuse()
            case ast.Call(func=ast.Name(id="Float"), args=[ast.Constant(value=str(number))]):
                precision = all(
                    keyword.arg == "precision" and _is_small(keyword.value, 1024)
                    for keyword in node.keywords
                )
                if not _DECIMAL.fullmatch(number) or not precision:
                    self._refuse()
            case ast.Call(func=ast.Name(id="Integer"), args=[number], keywords=[]):
                self._integer(number)
            case ast.Call(func=ast.Name(id="Rational"), args=[upper, lower], keywords=[]):
                self._integer(upper)
                self._integer(lower)
            case ast.Call(func=ast.Name(id=name), args=[base, exponent], keywords=[]) if (
                name in _POWERS
            ):
                self._power(base, exponent, depth)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if (
                name in _FUNCTIONS
            ):
                for argument in arguments:
                    self._value(argument, depth - 1)
            case _:
                self._refuse()

    def _power(self, base: ast.expr, exponent: ast.expr, depth: int) -> None:
        """Powers of powers could be numbers of any size."""
        match exponent:
            case ast.Call(func=ast.Name(id="Integer"), args=[number], keywords=[]):
                small = _is_small(number, _MAX_EXPONENT)
            case _:
                small = False
        nested = any(isinstance(n, ast.Name) and n.id in _POWERS for n in ast.walk(base))
        if nested or not small:
            self._refuse()
        self._value(base, depth - 1)

    def _integer(self, node: ast.expr) -> None:
        if not _is_small(node, _MAX_INTEGER):
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise _refused("size", self._text, self._place)


def _is_small(node: ast.expr, bound: int) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= bound


def _is_assumption(keyword: ast.keyword) -> bool:
    return (
        keyword.arg in _ASSUMPTIONS
        and isinstance(keyword.value, ast.Constant)
        and isinstance(keyword.value.value, bool)
    )


def _parse(text: str, place: Place) -> ast.Expression:
    if len(text) > _MAX_CHARACTERS:
        raise _refused("expression", text, place)
    try:
        return ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused("expression", text, place) from error


def _refused(what: str, text: str, place: Place) -> Exception:
    return place.unsafe(
        f"found {shown(text)}, which torch would evaluate as Python and is no plain {what}"
    )
