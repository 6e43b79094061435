"""Filter captions by an expression over the columns of `captions.parquet`.

    contradicted == 0 and supported >= 2
    code == "ok" and words_kept / words > 0.8 and not "stock photo" in caption

The expression is parsed as Python. Only the operators listed here are evaluated; no code is run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from halluguard.auditing.outputs.tables import CAPTION_COLUMNS
from halluguard.errors import SettingsError
from halluguard.io import JsonObject

Cell = Any  # the value of a column or an operator: a number, a text, a truth value, or a list of them
Value = Callable[[JsonObject], Cell]

_COMPARISONS: dict[type[ast.cmpop], Callable[[Cell, Cell], Cell]] = {
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le},
    **{ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b},
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Cell, Cell], Cell]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: lambda a, b: _product(a, b)},
    ast.Div: lambda a, b: a / b if b else 0.0,  # a share is 0 if the whole is 0
}


def _product(a: Cell, b: Cell) -> Cell:
    """A product of numbers. Texts and lists are refused: repeated, they would fill the memory."""
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        raise TypeError(f"{type(a).__name__} times {type(b).__name__}")
    return a * b


def parse_filter(expression: str) -> Callable[[JsonObject], bool]:
    """Turn an expression into a function that takes a row of `captions.parquet`.

    Raises:
        SettingsError: it does not parse, names an unknown column, or uses another operator.

    >>> parse_filter("contradicted == 0 and supported >= 2")({"contradicted": 0, "supported": 3})
    True
    """
    if len(expression) > 10_000:
        raise SettingsError(f"a filter may have at most 10,000 characters, got {len(expression):,}; shorten it")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        value = _compiled(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"cannot read the filter {expression!r}: {error}; write e.g. 'contradicted == 0'") from None
    return lambda row: bool(_evaluated(value, row, expression))


def _evaluated(value: Value, row: JsonObject, expression: str) -> Cell:
    try:
        return value(row)
    except TypeError as error:
        raise SettingsError(f"the filter {expression!r} compares values of different types: {error}") from None


def _compiled(node: ast.expr) -> Value:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [_compiled(value) for value in values]
            combined = all if isinstance(op, ast.And) else any
            return lambda row: combined(part(row) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _compiled(operand)
            return lambda row: not inner(row)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compiled(operand)
            return lambda row: -inner(row)
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARISONS for op in ops):
            sides = [_compiled(side) for side in (left, *comparators)]
            tests = [_COMPARISONS[type(op)] for op in ops]
            return lambda row: all(test(a(row), b(row)) for test, a, b in zip(tests, sides, sides[1:], strict=False))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            a, b, operation = _compiled(left), _compiled(right), _ARITHMETIC[type(op)]
            return lambda row: operation(a(row), b(row))
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return lambda row: value
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            parts = [_compiled(element) for element in elements]
            return lambda row: [part(row) for part in parts]
        case ast.Name(id=name) if name in CAPTION_COLUMNS:
            return lambda row: row[name]
        case ast.Name(id=name):
            raise SettingsError(f"a filter may name the columns {', '.join(CAPTION_COLUMNS)}; got {name!r}")
    raise SettingsError(
        "a filter may compare, add, subtract, multiply, divide, and join with and, or, not, in; got "
        f"{ast.unparse(node)!r}"
    )
