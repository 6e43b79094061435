"""Bound the time and the size of chat templates.

Chat templates are programs in Jinja that come with a checkpoint. transformers runs them in a sandbox that reaches no
Python object, but lets them loop for hours or write gigabytes. `install` puts a bounded sandbox in its place, for all
templates that transformers renders in this process. Each loop, call, filter and operator checks the clock. The size of
values is bounded, so that each step between two checks is short.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jinja2 import nodes
from jinja2.environment import Template
from jinja2.exceptions import TemplateError, TemplateRuntimeError, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer
from transformers import ProcessorMixin
from transformers.utils import chat_template_utils

from halluguard.errors import HalluguardError, UnsupportedModelError, first_line

MAX_SECONDS = 5.0
"""Most seconds of processor time for compiling a chat template, and for rendering one conversation with it."""
MAX_SIZE = 16 * 1024**2
"""Largest value that a chat template may make, in characters, plus four times the size of the conversation."""
MAX_TEMPLATE = 1_000_000
"""Longest chat template, in characters."""

_ITEM = 16
"""Size that is counted for each item of a list or dictionary, in characters."""
_WIDTHS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "batch", "slice", "tojson"})
"""Filters and methods whose result grows with an argument."""
_REFUSED = frozenset({"translate", "encode", "to_bytes", "urlize", "wordwrap", "xmlattr", "pprint"})
"""Filters and methods that are refused, because their work is not bounded by the size of their values."""
_PASSED = ("counted", "joined", "measured")
"""Filters that `_Counting` inserts into templates."""


class TemplateLimitError(UnsupportedModelError, TemplateRuntimeError):
    """A chat template runs too long, or makes a value that is too large."""

    def __init__(self, excess: str) -> None:
        super().__init__(f"{excess}; if you trust the checkpoint, raise the limits of halluguard.chat_templates")


class _Counting(NodeTransformer):
    """Pass loop items, parts of joined texts and values of literals through the filters in `_PASSED`."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        """The node, with its children changed first."""
        node = self.generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For):
            node.iter = _through("counted", node.iter)
        elif isinstance(node, nodes.Concat):
            return _through("joined", nodes.List(node.nodes, lineno=node.lineno))
        elif isinstance(node, nodes.List | nodes.Dict | nodes.Tuple) and getattr(node, "ctx", "load") == "load":
            return _through("measured", node)
        return node


def _through(name: str, node: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Checked(dict[str, Callable[..., Any]]):
    """The filters or tests of an environment; each checks its arguments and its result."""

    def __init__(self, environment: BoundedEnvironment, filters: dict[str, Callable[..., Any]]) -> None:
        super().__init__()
        self._environment = environment
        for name, function in filters.items():
            self[name] = function

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        environment = self._environment
        if name in _PASSED:
            super().__setitem__(name, function)
            return
        skipped = 1 if hasattr(function, "jinja_pass_arg") else 0  # the first is the context or environment

        @functools.wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            values = list(args[skipped:])
            if name in ("join", "sum") and values and isinstance(values[0], Iterator):
                values[0] = list(environment.counted(values[0]))
            if values:
                environment.check_call(name, values[0], values[1:], kwargs)
            return environment.measured(function(*args[:skipped], *values, **kwargs))

        super().__setitem__(name, bounded)


class BoundedTemplate(Template):
    """A template that starts the clock anew at each rendering."""

    def new_context(self, vars: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> Context:
        environment = self.environment
        if isinstance(environment, BoundedEnvironment):
            environment.begin(vars)
        return super().new_context(vars, *args, **kwargs)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox of chat templates, bounded by `MAX_SECONDS`, `MAX_SIZE` and `MAX_TEMPLATE`."""

    template_class = BoundedTemplate
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._of_thread = threading.local()
        own = {name: getattr(self, name) for name in _PASSED}
        self.filters = _Checked(self, self.filters | own)
        self.tests = _Checked(self, self.tests)  # type: ignore[assignment,arg-type]  # jinja2's type is a guess
        self.globals.pop("lipsum")
        self.finalize = self.measured
        self.concat = self._written  # type: ignore[method-assign]  # joins the parts of a rendered template

    def begin(self, values: object = None) -> None:
        """Start the clock of this thread, for a rendering of `values`."""
        self._of_thread.end = time.thread_time() + MAX_SECONDS
        self._of_thread.size = MAX_SIZE + 4 * _size(values, 64 * MAX_SIZE)

    def from_string(self, source: str | nodes.Template, *args: Any, **kwargs: Any) -> Template:
        """Compile a template.

        Raises:
            TemplateSyntaxError: it is not a valid template, is too long, or is nested too deeply.
        """
        if isinstance(source, str) and len(source) > MAX_TEMPLATE:
            raise TemplateSyntaxError(f"it has more than {MAX_TEMPLATE:,} characters", 1)
        self.begin()
        try:
            return super().from_string(source, *args, **kwargs)
        except (RecursionError, MemoryError, SyntaxError) as error:
            raise TemplateSyntaxError(f"it is nested too deeply ({type(error).__name__})", 1) from error

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        return tree

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method of a template."""
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        name, value = getattr(method, "__name__", ""), getattr(method, "__self__", None)
        if name == "join" and args and isinstance(args[0], Iterator):
            args = (list(self.counted(args[0])), *args[1:])
        if name == "join" and isinstance(value, str) and args:
            self.check_call(name, args[0], [value], {})
        else:
            self.check_call(name, value if isinstance(value, str) else None, args, kwargs)
        return self.measured(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply `+`, `*`, `**` or `%`."""
        self._tick()
        if operator == "+":
            self._allow(_size(left, self._limit) + _size(right, self._limit))
        elif operator == "%" and isinstance(left, str):
            self._allow(_formatted(left, right if isinstance(right, tuple) else (right,), self._limit))
        elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = abs(left).bit_length()
            self._allow(bits * abs(right) if operator == "**" else bits + abs(right).bit_length(), 100_000)
        elif operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(times, int) and not isinstance(value, int | float):
                    self._allow(_size(value, self._limit) * abs(times))
        return super().call_binop(context, operator, left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item or attribute of a value."""
        self._tick()
        return super().getitem(obj, argument)

    def check_call(self, name: str, value: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> None:
        """Check a filter or method before it runs on `value`.

        Raises:
            TemplateLimitError: it may take too long, or make too large a value.
        """
        self._tick()
        if name in _REFUSED:
            raise TemplateLimitError(f"the chat template uses {name!r}, whose work is not limited")
        others = [*args, *kwargs.values()]
        limit = self._limit
        sizes = [_size(one, limit) for one in (value, *others)]
        self._allow(max(sizes))
        if name == "join":
            count = len(value) if hasattr(value, "__len__") else 0
            self._allow(sizes[0] + count * max(sizes[1:], default=0))
        elif name == "replace" and isinstance(value, str) and len(others) > 1:
            self._allow(len(value) + value.count(str(others[0])) * sizes[2])
        elif name in ("format", "format_map") and isinstance(value, str):
            self._allow(_formatted(value, others, limit))
        elif name in _WIDTHS:
            widest = max([*sizes[1:], *(abs(one) for one in others if isinstance(one, int))], default=0)
            self._allow(widest * max(1, sizes[0]))
        elif name == "round":
            self._allow(max((abs(one) for one in others if isinstance(one, int)), default=0), 1000)
        elif name == "sum" and any(not isinstance(one, int | float | str) for one in others):
            raise TemplateLimitError("the chat template sums values that are not numbers")

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield the items, and check the clock before each."""
        for item in items:
            self._tick()
            yield item

    def measured(self, value: Any) -> Any:
        """The value, if it is not too large."""
        self._tick()
        self._allow(_size(value, self._limit))
        return value

    def joined(self, parts: list[Any]) -> str:
        """The parts as one text."""
        self.measured(parts)
        return "".join(map(str, parts))

    def _written(self, parts: Iterable[str]) -> str:
        """Join the parts of a rendered template, within the limits of time and size."""
        written, size = [], 0
        for part in parts:
            size += len(part)
            self._tick()
            self._allow(size)
            written.append(part)
        return "".join(written)

    @property
    def _limit(self) -> float:
        return getattr(self._of_thread, "size", MAX_SIZE)

    def _allow(self, size: float, limit: float | None = None) -> None:
        limit = self._limit if limit is None else limit
        if size > limit:
            raise TemplateLimitError(f"the chat template makes a value of more than {limit:,.0f} characters")

    def _tick(self) -> None:
        if time.thread_time() > getattr(self._of_thread, "end", float("inf")):
            raise TemplateLimitError(f"the chat template runs for more than {MAX_SECONDS:g} seconds")


def _size(value: Any, limit: float) -> float:
    """Number of characters in a value, plus `_ITEM` for each item; counting stops beyond the limit."""
    size, remaining = 0, [value]
    while remaining and size <= limit:
        one = remaining.pop()
        if isinstance(one, str | bytes):
            size += len(one)
        elif isinstance(one, dict):
            size += 2 * _ITEM * len(one)
            remaining += [*one, *one.values()] if size <= limit else ()
        elif isinstance(one, list | tuple | set | frozenset):
            size += _ITEM * len(one)
            remaining += one if size <= limit else ()
        elif isinstance(one, Namespace):
            size += _ITEM
            remaining.append(one._Namespace__attrs)  # the values of a namespace are rendered with it
    return size


def _formatted(text: str, values: Sequence[Any], limit: float) -> float:
    """Upper bound on the size of a text after values are inserted at each `%` and `{`."""
    places = text.count("%") + text.count("{")
    size = max((_size(value, limit) for value in values), default=0)
    widths = sum(int(digits[:20]) for digits in re.findall(r"\d+", text))
    if "*" in text or re.search(r":[^{}]*\{", text):  # the width is one of the values
        numbers = [abs(value) for value in values if isinstance(value, int)]
        widths += places * max(numbers, default=0)
    return len(text) + places * (size + 40) + widths


@contextmanager
def template_errors(processor: object) -> Iterator[None]:
    """Turn an error of a chat template into one that names its processor and advises the user.

    Raises:
        UnsupportedModelError: a template failed inside the block.
    """
    try:
        yield
    except HalluguardError:
        raise
    except (TemplateError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"the chat template of {type(processor).__name__} cannot render a question ({first_line(error)}); use a "
            "checkpoint whose chat_template.jinja takes messages with an image and a text"
        ) from error


def render_chat(processor: ProcessorMixin, messages: list[dict[str, Any]]) -> str:
    """Turn a dialogue into a prompt by a processor's chat template, up to the start of the next answer.

    Raises:
        UnsupportedModelError: the template fails, or asks for something outside the sandbox.
    """
    with template_errors(processor):
        return str(processor.apply_chat_template(messages, add_generation_prompt=True))


def install() -> None:
    """Make transformers render all chat templates in the bounded environment."""
    chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment  # type: ignore[misc]  # a class of its own
