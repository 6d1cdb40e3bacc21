"""As much of Lua as the scripts for Redis are written in, so that the simulation runs the scripts themselves.

What is not known here is refused when a script is read. Strings are bytes, nil is None, tables are dictionaries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

Env = dict[str, Any]
_Node = Callable[[Env], Any]

_TOKEN = re.compile(
    r"\s+|--[^\n]*|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)|'(?P<text>(?:[^'\\]|\\.)*)'"
    r"|(?P<sign>==|~=|<=|>=|\.\.|[-+*#=<>(){}\[\],.])"
)
_ESCAPES = {"n": "\n", "\\": "\\", "'": "'"}
_CONSTANTS = {"nil": None, "true": True, "false": False}
_WORDS = {
    *(
        "and",
        "do",
        "else",
        "elseif",
        "end",
        "false",
        "for",
        "function",
        "if",
        "local",
        "nil",
        "not",
    ),
    *("or", "repeat", "return", "then", "true", "until", "while"),
}


class _Token(NamedTuple):
    kind: str
    text: str


class _Returned(NamedTuple):
    """What a block gives that has come to a `return`."""

    value: Any


class _Several(tuple[Any, ...]):
    """What a function gives that gives several values."""

    __slots__ = ()


@cache
def program(script: str) -> Callable[[Env], Any]:
    """Read a script, and give what runs it among some globals.

    Raises
    ------
    SyntaxError
        Where it is written in more of Lua than this.
    """
    parser = _Parser(list(_tokens(script)))
    block = parser.block()
    if parser.peek().kind != "end":
        raise SyntaxError(f"expected a statement, found {parser.peek().text!r}")

    def run(env: Env) -> Any:
        returned = block(env)
        return returned.value if isinstance(returned, _Returned) else None

    return run


def _tokens(script: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(script):
        match = _TOKEN.match(script, at)
        if match is None:
            raise SyntaxError(f"not known: {script[at : at + 20]!r}")
        at = match.end()
        if match["text"] is not None:
            text = re.sub(r"\\(.)", lambda found: _ESCAPES[found[1]], match["text"])
            tokens.append(_Token("text", text))
        elif match.lastgroup is not None:
            word = match.lastgroup == "name" and match[0] in _WORDS
            tokens.append(_Token("sign" if word else match.lastgroup, match[0]))
    return [*tokens, _Token("end", "")]


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _found(self, *signs: str) -> str | None:
        """Take the next token if it is one of these."""
        token = self.peek()
        if token.kind == "sign" and token.text in signs:
            return self._next().text
        return None

    def _expect(self, sign: str) -> None:
        if self._found(sign) is None:
            raise SyntaxError(f"expected {sign!r}, found {self.peek().text!r}")

    def _name(self) -> str:
        token = self._next()
        if token.kind != "name":
            raise SyntaxError(f"expected a name, found {token.text!r}")
        return token.text

    # ---- statements --------------------------------------------------------------------------------

    def block(self) -> _Node:
        statements = []
        while self.peek().kind != "end" and self.peek() not in (
            _Token("sign", "end"),
            _Token("sign", "else"),
        ):
            statements.append(self._statement())

        def run(env: Env) -> Any:
            for statement in statements:
                returned = statement(env)
                if returned.__class__ is _Returned:
                    return returned
            return None

        return run

    def _statement(self) -> _Node:
        if self._found("local"):
            return self._local()
        if self._found("if"):
            return self._if()
        if self._found("while"):
            return self._while()
        if self._found("return"):
            value = self._expression()
            return lambda env: _Returned(_first(value(env)))
        return self._assignment()

    def _local(self) -> _Node:
        names = [self._name()]
        while self._found(","):
            names.append(self._name())
        self._expect("=")
        values = self._list()

        def assign(env: Env) -> None:
            found = _spread(values, env)
            found += [None] * (len(names) - len(found))
            env.update(zip(names, found, strict=False))

        return assign

    def _if(self) -> _Node:
        condition = self._expression()
        self._expect("then")
        good = self.block()
        bad = self.block() if self._found("else") else None
        self._expect("end")

        def run(env: Env) -> Any:
            if _true(condition(env)):
                return good(env)
            return bad(env) if bad is not None else None

        return run

    def _while(self) -> _Node:
        condition = self._expression()
        self._expect("do")
        body = self.block()
        self._expect("end")

        def run(env: Env) -> Any:
            while _true(condition(env)):
                returned = body(env)
                if isinstance(returned, _Returned):
                    return returned
            return None

        return run

    def _assignment(self) -> _Node:
        name = self._name()
        if self._found("="):
            value = self._expression()
            return lambda env: env.__setitem__(name, _first(value(env)))
        if self._found("["):
            key = self._expression()
            self._expect("]")
            self._expect("=")
            value = self._expression()
            return lambda env: env[name].__setitem__(_first(key(env)), _first(value(env)))
        call = self._postfix(_variable(name))
        return lambda env: call(env) and None

    # ---- expressions, from those that bind least to those that bind most ----------------------------

    def _list(self) -> list[_Node]:
        values = [self._expression()]
        while self._found(","):
            values.append(self._expression())
        return values

    def _expression(self) -> _Node:
        left = self._conjunction()
        while self._found("or"):
            left = _or(left, self._conjunction())
        return left

    def _conjunction(self) -> _Node:
        left = self._comparison()
        while self._found("and"):
            left = _and(left, self._comparison())
        return left

    def _comparison(self) -> _Node:
        left = self._joined()
        while sign := self._found("==", "~=", "<=", ">=", "<", ">"):
            left = _binary(sign, left, self._joined())
        return left

    def _joined(self) -> _Node:
        left = self._sum()
        while self._found(".."):
            left = _binary("..", left, self._sum())
        return left

    def _sum(self) -> _Node:
        left = self._unary()
        while sign := self._found("+", "-", "*"):
            left = _binary(sign, left, self._unary())
        return left

    def _unary(self) -> _Node:
        sign = self._found("#", "-", "not")
        if sign is None:
            return self._postfix(self._primary())
        of = self._unary()
        match sign:
            case "#":
                return lambda env: len(of(env))
            case "-":
                return lambda env: -of(env)
            case _:
                return lambda env: not _true(of(env))

    def _primary(self) -> _Node:
        token = self._next()
        if token.kind == "sign" and token.text in _CONSTANTS:
            return _constant(_CONSTANTS[token.text])
        match token:
            case _Token("number", text):
                return _constant(int(text))
            case _Token("text", text):
                return _constant(text.encode())
            case _Token("name", name):
                return _variable(name)
            case _Token("sign", "("):
                inner = self._expression()
                self._expect(")")
                return inner
            case _Token("sign", "{"):
                self._expect("}")
                return lambda _: {}
        raise SyntaxError(f"not known: {token.text!r}")

    def _postfix(self, left: _Node) -> _Node:
        while sign := self._found("(", "[", "."):
            if sign == "(":
                arguments = [] if self._found(")") else self._list()
                if arguments:
                    self._expect(")")
                left = _call(left, arguments)
            elif sign == "[":
                left = _index(left, self._expression())
                self._expect("]")
            else:
                left = _index(left, _constant(self._name().encode()))
        return left


def _first(value: Any) -> Any:
    return (value[0] if value else None) if isinstance(value, _Several) else value


def _true(value: Any) -> bool:
    # Zero and empty strings are true.
    value = _first(value)
    return value is not None and value is not False


def _spread(values: Sequence[_Node], env: Env) -> list[Any]:
    """Give the values of a list, where the last one may stand for several."""
    found = [value(env) for value in values]
    last = found.pop()
    return [*map(_first, found), *(last if isinstance(last, _Several) else (last,))]


def _constant(value: Any) -> _Node:
    return lambda _: value


def _variable(name: str) -> _Node:
    return lambda env: env[name]


def _index(table: _Node, key: _Node) -> _Node:
    return lambda env: table(env).get(_first(key(env)))


def _call(function: _Node, arguments: Sequence[_Node]) -> _Node:
    if not arguments:
        return lambda env: function(env)()
    return lambda env: function(env)(*_spread(arguments, env))


def _or(left: _Node, right: _Node) -> _Node:
    def run(env: Env) -> Any:
        value = _first(left(env))
        return value if _true(value) else _first(right(env))

    return run


def _and(left: _Node, right: _Node) -> _Node:
    def run(env: Env) -> Any:
        value = _first(left(env))
        return _first(right(env)) if _true(value) else value

    return run


_SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "~=": lambda a, b: a != b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "..": lambda a, b: text(a) + text(b),
}


def _binary(sign: str, left: _Node, right: _Node) -> _Node:
    work = _SIGNS[sign]
    return lambda env: work(_first(left(env)), _first(right(env)))


# ---- the library ---------------------------------------------------------------------------------


def text(value: Any) -> bytes:
    """Write a string or a number as a string."""
    return value if isinstance(value, bytes) else str(value).encode()


def _find(within: bytes, what: bytes, start: int = 1, plain: Any = None) -> _Several:
    if plain is not True:
        raise NotImplementedError("only plain text is looked for")
    at = within.find(what, start - 1)
    return _Several((at + 1, at + len(what))) if at >= 0 else _Several((None,))


def _sub(whole: bytes, first: int, last: int) -> bytes:
    if first < 1 or last < 0:
        raise NotImplementedError("positions from the end")
    return whole[first - 1 : last]


def _match(whole: bytes, pattern: bytes) -> _Several:
    known = re.fullmatch(rb"\^?(?:[\w ]|\(?%d\+\)?)*\$?", pattern)
    if known is None:
        raise NotImplementedError(f"pattern {pattern!r}")
    found = re.search(pattern.replace(b"%d", rb"\d"), whole)
    return _Several(found.groups() if found else (None,))


def _tonumber(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _concat(table: dict[int, bytes], between: bytes = b"") -> bytes:
    return between.join(table[i] for i in range(1, len(table) + 1))


LIBRARY: Env = {
    "tonumber": _tonumber,
    "string": {b"find": _find, b"sub": _sub, b"match": _match},
    "table": {b"concat": _concat},
}
