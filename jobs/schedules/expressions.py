"""Arithmetic that a person wrote. Python only parses it; what is worked out are functions of ours, never the text.

Two walls: a scan lets through numbers, names and the signs of arithmetic (no quotes, dots or brackets), then each node
of the tree must be one of those below. All is bounded: length, nesting, whole numbers (beyond 2**53 they become
floats), exponents (no float is larger than 1.8e308).
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from jobs.errors import Fact, Refusal
from jobs.schedules.passage import Passage, quoted
from jobs.schedules.refusals import (
    ExpressionArguments,
    ExpressionDeep,
    ExpressionEmpty,
    ExpressionForbidden,
    ExpressionFunction,
    ExpressionGlued,
    ExpressionLarge,
    ExpressionLong,
    ExpressionName,
    ExpressionSign,
    ExpressionUndefined,
    ExpressionUnreadable,
)

Number = int | float
Numbers = Mapping[str, Number]
Worked = Callable[[Numbers], Number]

LONGEST = 200
DEEPEST = 20
EXACT = 2**53
"""Whole numbers beyond it become floats, so that none grows without end."""
TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*/%(),<>=!&|~ \t])", re.ASCII
)


def _whole(rounded: Callable[[float], Number]) -> Callable[[Number], Number]:
    """Rounding as numexpr does it: a float stays one, a whole number is left alone."""
    return lambda number: number if isinstance(number, int) else float(rounded(number))


def _absolute(number: Number) -> Number:
    return abs(number)


def _chosen(condition: Number, yes: Number, no: Number) -> Number:
    return yes if condition else no


def _divided(number: Number, by: Number) -> Number:
    return number / by


def _divided_whole(number: Number, by: Number) -> Number:
    return number // by


def _power(base: Number, exponent: Number) -> Number:
    """Exact where that is short; otherwise in floats, which end at 1.8e308 and say so."""
    if isinstance(base, int) and isinstance(exponent, int) and 0 <= exponent <= 64:
        return base**exponent
    return math.pow(base, exponent)


@dataclass(frozen=True)
class Function:
    """What a name with parentheses stands for."""

    worked_out: Callable[..., Number]
    least: int = 1
    most: int = 1


FUNCTIONS: dict[str, Function] = {
    **{name: Function(getattr(math, name)) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "sqrt", "exp")},
    **{name: Function(getattr(math, name)) for name in ("log", "log10", "log1p", "expm1", "asin", "acos", "atan")},
    "arcsin": Function(math.asin),
    "arccos": Function(math.acos),
    "arctan": Function(math.atan),
    "atan2": Function(math.atan2, 2, 2),
    "arctan2": Function(math.atan2, 2, 2),
    "abs": Function(_absolute),
    "floor": Function(_whole(math.floor)),
    "ceil": Function(_whole(math.ceil)),
    "round": Function(_whole(round)),
    "trunc": Function(_whole(math.trunc)),
    "min": Function(min, 2, LONGEST),
    "max": Function(max, 2, LONGEST),
    "where": Function(_chosen, 3, 3),
}
CONSTANTS: Numbers = {"pi": math.pi}


BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divided,
    ast.FloorDiv: _divided_whole,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.BitAnd: lambda a, b: bool(a) and bool(b),
    ast.BitOr: lambda a, b: bool(a) or bool(b),
}
UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.not_,
}
COMPARED: dict[type[ast.cmpop], Callable[[Number, Number], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Expression:
    """Arithmetic that was found to be nothing else."""

    source: Passage
    _worked_out: Worked = field(repr=False, compare=False)

    def value(self, numbers: Numbers) -> Number:
        """Its value.

        Raises:
            ExpressionUndefined: there is none with these numbers.
            ExpressionLarge: it is too large.
        """
        try:
            return self._worked_out({**CONSTANTS, **numbers})
        except OverflowError:
            raise ExpressionLarge(**self._facts(numbers)) from None
        except (ZeroDivisionError, ValueError):
            raise ExpressionUndefined(**self._facts(numbers)) from None

    def _facts(self, numbers: Numbers) -> dict[str, Fact]:
        shown = ", ".join(f"{name} = {numbers[name]:g}" for name in ("t", "max_f") if name in numbers)
        return {**self.source.place(), "expression": quoted(self.source.text), "numbers": shown}


def expression(source: Passage, names: frozenset[str]) -> Expression:
    """Read arithmetic in which these names may occur, and pi.

    Raises:
        Refusal: one of the `Expression…` in `refusals`, with the place.
    """
    source = source.strip()
    _scanned(source)
    try:
        body = ast.parse(source.text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        column = error.offset if isinstance(error, SyntaxError) and error.offset else 1
        index = min(max(column - 1, 0), len(source.text))
        raise ExpressionUnreadable(**source.place(index), expression=quoted(source.text)) from None
    return Expression(source, _Builder(source, names | CONSTANTS.keys()).build(body))


def _scanned(source: Passage) -> None:
    """The first wall: its length, its signs, its nesting."""
    if not source:
        raise ExpressionEmpty(**source.place())
    if len(source.text) > LONGEST:
        raise ExpressionLong(**source.place(), length=len(source.text), limit=LONGEST)
    index = depth = 0
    while index < len(source.text):
        found = TOKEN.match(source.text, index)
        if found is None:
            sign = source.text[index]
            raise ExpressionSign(
                **source.place(index), sign=quoted(sign) if sign.isprintable() else f"U+{ord(sign):04X}"
            )
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth > DEEPEST:
            raise ExpressionDeep(**source.place(index), limit=DEEPEST)
        if found["number"] and re.match(r"[A-Za-z_]", source.text[found.end() :]):
            raise ExpressionGlued(**source.place(index), glued=source.shown(), number=found["number"])
        index = found.end()


class _Builder:
    """The second wall: a tree becomes functions of ours, node by node; one that is none of these is refused."""

    def __init__(self, source: Passage, names: frozenset[str]) -> None:
        self.source = source
        self.names = names

    def build(self, node: ast.expr) -> Worked:
        """What works out a node."""
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return lambda _: _bounded(value)
            case ast.Name(id=name) if name in self.names:
                return operator.itemgetter(name)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
                return self._binary(BINARY[type(op)], self.build(left), self.build(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
                return self._unary(UNARY[type(op)], self.build(operand))
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARED for op in ops):
                return self._compared([COMPARED[type(op)] for op in ops], [left, *others])
            case ast.BoolOp(op=op, values=values):
                return self._joined(all if isinstance(op, ast.And) else any, values)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self._called(name, args, self.source.place(node.col_offset))
            case _:
                raise self._refused(node)

    def _refused(self, node: ast.expr) -> Refusal:
        place = self.source.place(node.col_offset)
        if isinstance(node, ast.Name):
            return ExpressionName(**place, name=quoted(node.id), known=", ".join(sorted(self.names)))
        return ExpressionForbidden(**place, expression=quoted(self.source.text))

    def _binary(self, worked_out: Callable[[Number, Number], Number], left: Worked, right: Worked) -> Worked:
        return lambda numbers: _bounded(worked_out(left(numbers), right(numbers)))

    def _unary(self, worked_out: Callable[[Number], Number], operand: Worked) -> Worked:
        return lambda numbers: _bounded(worked_out(operand(numbers)))

    def _compared(self, kinds: list[Callable[[Number, Number], bool]], nodes: list[ast.expr]) -> Worked:
        built = [self.build(node) for node in nodes]

        # A number, for it ends up as a weight: numexpr would write `(cat:True)`.
        def worked_out(numbers: Numbers) -> Number:
            terms = [term(numbers) for term in built]
            return int(all(kind(*pair) for kind, pair in zip(kinds, pairwise(terms), strict=True)))

        return worked_out

    def _joined(self, every: Callable[[Iterable[object]], bool], nodes: list[ast.expr]) -> Worked:
        built = [self.build(node) for node in nodes]
        return lambda numbers: int(every(term(numbers) for term in built))

    def _called(self, name: str, args: list[ast.expr], place: dict[str, Fact]) -> Worked:
        function = FUNCTIONS.get(name)
        if function is None:
            raise ExpressionFunction(**place, name=quoted(name), known=", ".join(sorted(FUNCTIONS)))
        if not function.least <= len(args) <= function.most:
            raise ExpressionArguments(**place, name=name, given=len(args), wanted=function.least)
        built = [self.build(node) for node in args]
        if name == "where":  # of its two answers only the one that is taken need have a value
            condition, yes, no = built
            return lambda numbers: yes(numbers) if condition(numbers) else no(numbers)
        return lambda numbers: _bounded(function.worked_out(*(term(numbers) for term in built)))


def _bounded(number: Number) -> Number:
    """A whole number of at most 2**53, or a finite float."""
    if isinstance(number, int):
        return int(number) if abs(number) <= EXACT else float(number)
    if math.isinf(number):
        raise OverflowError
    if math.isnan(number):
        raise ValueError
    return number
