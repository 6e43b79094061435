"""Filters: an expression over the columns of `captions.parquet` that says which captions an export keeps.

    contradicted == 0 and supported >= 2
    code == "ok" and words_kept / words > 0.8 and not "stock photo" in caption

The words are Python's, read by its own parser; nothing but what is listed here is evaluated, and no code is run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from halluguard.auditing.outputs.tables import CAPTION_COLUMNS
from halluguard.errors import SettingsError

Value = Callable[[Mapping[str, Any]], Any]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le},
    **{ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b},
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul},
    ast.Div: lambda a, b: a / b if b else 0.0,  # a share of nothing is 0
}


def compiled(expression: str) -> Value:
    """The expression as a function of a caption's row.

    Raises:
        SettingsError: it does not parse, names no column, or uses what filters do not know.

    >>> compiled("contradicted == 0 and supported >= 2")({"contradicted": 0, "supported": 3})
    True
    """
    if len(expression) > 10_000:
        raise SettingsError(f"a filter may have 10,000 characters, got {len(expression):,}")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        read = _read(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"cannot read the filter {expression!r}: {error}; write e.g. 'contradicted == 0'") from None
    return lambda row: bool(_evaluated(read, row, expression))


def _evaluated(read: Value, row: Mapping[str, Any], expression: str) -> Any:
    try:
        return read(row)
    except TypeError as error:
        raise SettingsError(f"the filter {expression!r} compares what cannot be compared: {error}") from None


def _read(node: ast.expr) -> Value:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [_read(value) for value in values]
            every = all if isinstance(op, ast.And) else any
            return lambda row: every(part(row) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _read(operand)
            return lambda row: not inner(row)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _read(operand)
            return lambda row: -inner(row)
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARE for op in ops):
            sides = [_read(side) for side in (left, *comparators)]
            tests = [_COMPARE[type(op)] for op in ops]
            return lambda row: all(test(a(row), b(row)) for test, a, b in zip(tests, sides, sides[1:], strict=False))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            a, b, work = _read(left), _read(right), _ARITHMETIC[type(op)]
            return lambda row: work(a(row), b(row))
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return lambda row: value
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            parts = [_read(element) for element in elements]
            return lambda row: [part(row) for part in parts]
        case ast.Name(id=name) if name in CAPTION_COLUMNS:
            return lambda row: row[name]
        case ast.Name(id=name):
            raise SettingsError(f"a filter may name the columns {', '.join(CAPTION_COLUMNS)}; got {name!r}")
    raise SettingsError(
        "a filter may compare, add, subtract, multiply, divide, and join with and, or, not, in; got "
        f"{ast.unparse(node)!r}"
    )
