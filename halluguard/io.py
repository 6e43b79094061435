"""Open, read and write files: gzip and Zstandard, JSON, JSON Lines, atomic replacement.

All other modules open files through this one. Compression is recognised by a file's first bytes when it is read, and by
the end of its name (".gz", ".zst") when it is written. A file that is written appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import gzip
import hashlib
import io
import itertools
import json
import math
import os
import re
import secrets
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, AnyStr, BinaryIO, Literal, Protocol, TextIO, overload

from halluguard.errors import HalluguardError, InputError, OutputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""First bytes of compressed files."""

JsonObject = dict[str, Any]
"""An object read from JSON or written as JSON; the code that uses a value knows or checks its type."""

READ_ERRORS = (OSError, EOFError, zlib.error, UnicodeError, LookupError)
"""Errors from reading a damaged, truncated or wrongly encoded file; a LookupError means an unknown encoding."""

MAX_UNPACKED, MAX_RATIO = 256 * 1024**2, 100
"""Limits for an unpacked file: this many bytes, or this many times the compressed size, whichever is more."""
MAX_TEXT_RATIO = 10
"""The same limit for a compressed file that is read whole."""
MAX_LINE = 16 * 1024**2
"""Longest line of a JSON Lines file, in characters."""
MAX_TEXT = 512 * 1024**2
"""Most memory for the text of a file that is read whole, in bytes; a character takes up to four."""
MAX_JSON, MAX_JSON_RATIO = 1024**3, 8
"""Limits on the memory for a JSON file that is read whole: this many bytes, or this many times its size."""
MAX_EMPTY = 1_000_000
"""Most consecutive empty lines in a file of rows."""
MAX_CELLS = 100_000
"""Most cells of a row of a table; commas inside cells count too."""

_BUFFER = 1 << 17
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_BYTE_ORDER_MARKS = (
    *((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32")),
    *((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")),
)


def check_path(path: str | Path) -> str:
    """Advice about a path: the name beside it that was probably meant, else to check the path."""
    path = Path(path)
    if str(path) == "-":
        return "standard input is read for the captions of audit and the labels of calibrate only: save it as a file"
    if path.is_file():
        return f"it is a file: name the folder, such as {str(path.parent)!r}"
    try:
        beside = os.listdir(path.parent)
    except OSError:
        return "check the path"
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.75)
    return f"did you mean {str(path.with_name(close[0]))!r}?" if close else "check the path"


@contextlib.contextmanager
def reading(path: str | Path, content: str = "") -> Iterator[None]:
    """Turn the errors of reading a bad file into an `InputError`.

    Args:
        path: the file that is read inside the block.
        content: expected content, for the message ("JSON", "a list of images").

    Raises:
        InputError: the block raised one of `READ_ERRORS`.
    """
    try:
        yield
    except READ_ERRORS as error:
        if isinstance(error, HalluguardError):
            raise
        kind = f" as {content}" if content else ""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        advice = check_path(path) if isinstance(error, FileNotFoundError) else "check the file"
        raise InputError(f"cannot read {str(path)!r}{kind}: {reason}; {advice}") from error


_MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, csv.Error)


@contextlib.contextmanager
def parsing(path: str | Path, content: str) -> Iterator[None]:
    """Turn the errors that unexpected values of a file cause into an `InputError`.

    Args:
        path: the file whose values are used inside the block.
        content: expected content, for the message ("thresholds", "the summary of an audit").

    Raises:
        InputError: a value is missing, or has a wrong type or range.
    """
    try:
        yield
    except HalluguardError:
        raise
    except _MALFORMED as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise InputError(
            f"expected {content} in {str(path)!r}, got something else ({reason}); check the file"
        ) from error


# --- reading ---------------------------------------------------------------------------------------------------


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a file for reading its bytes as they are.

    Raises:
        InputError: it is a pipe or device, whose reading might never end.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115  # the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InputError(f"expected a file, got a pipe or device at {str(path)!r}; save its content as a file")
    return file


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for the writer of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def open_binary(path: str | Path) -> io.BufferedReader:
    """Open a file for reading bytes, decompressed if it is gzipped or Zstandard; see `MAX_UNPACKED` for the limit.

    Raises:
        InputError: while reading, if the file unpacks to more than the limit.
    """
    path = Path(path)
    file = open_regular(path)
    head = file.peek(4)[:4]
    if head.startswith(GZIP):
        return io.BufferedReader(_Unpacked(path, file, gzip.GzipFile(fileobj=file)), _BUFFER)
    if head == ZSTD:
        import pyarrow as pa

        return io.BufferedReader(_Unpacked(path, file, pa.CompressedInputStream(pa.PythonFile(file), "zstd")), _BUFFER)
    return file


def is_compressed(path: str | Path) -> bool:
    """Whether a file is gzipped or Zstandard."""
    with open_regular(path) as file:
        return file.read(4).startswith((GZIP, ZSTD))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of a file, up to the limit."""

    def __init__(self, path: Path, file: BinaryIO, unpacked: _Readable) -> None:
        self._path, self._file, self._unpacked = path, file, unpacked
        self._left = max(MAX_UNPACKED, MAX_RATIO * os.fstat(file.fileno()).st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = self._unpacked.read(len(view))
        view[: len(data)] = data
        self._left -= len(data)
        if self._left < 0:
            raise InputError(
                f"expected a file that unpacks to at most {MAX_RATIO} times its size, got more in {str(self._path)!r}; "
                "if you trust it, unpack it and name the unpacked file"
            )
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def text_encoding(head: bytes) -> str:
    """The encoding that the byte order mark in a file's first bytes shows, else UTF-8. Decoding skips the mark."""
    return next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), "utf-8-sig")


def open_text(
    path: str | Path, encoding: str | None = None, *, newline: str | None = None, errors: str = "strict"
) -> io.TextIOWrapper:
    """Open a file for reading text, decompressed if need be.

    Args:
        path: the file.
        encoding: its encoding; None means that of its byte order mark, else UTF-8. The mark is not part of the text.
        newline, errors: as for the built-in `open`.

    Raises:
        LookupError: there is no such encoding.
    """
    file = open_binary(path)
    try:
        name = encoding or text_encoding(file.peek(4)[:4])
        return io.TextIOWrapper(file, encoding=name, newline=newline, errors=errors)
    except BaseException:
        file.close()
        raise


def read_text(path: str | Path, encoding: str | None = None, *, most: int | None = None) -> str:
    """The text of a file, decompressed if need be.

    Args:
        path: the file.
        encoding: its encoding; None means what its byte order mark says, else UTF-8.
        most: largest unpacked size in bytes; default `MAX_UNPACKED`, or `MAX_TEXT_RATIO` times its size.

    Raises:
        InputError: the file is missing, damaged, not text in its encoding, unpacks to too much, or takes too much
            memory.
    """
    with reading(path), open_binary(path) as file:
        limit = most or max(MAX_UNPACKED, MAX_TEXT_RATIO * Path(path).stat().st_size)
        data = file.read(limit + 1)
        if len(data) > limit:
            raise InputError(f"expected a file of at most {limit:,} bytes, got more in {str(path)!r}; check the file")
        encoding = encoding or text_encoding(data)
        if _text_memory(data, encoding) > MAX_TEXT:
            raise InputError(
                f"expected text that takes at most {MAX_TEXT:,} bytes of memory, got more in {str(path)!r}; split it"
            )
        return data.decode(encoding)


def _text_memory(data: bytes, encoding: str) -> int:
    """Upper bound on the bytes of the decoded text: one emoji makes every character four bytes wide.

    >>> [_text_memory(text.encode(), "utf-8") for text in ("abcd", "ab\u20ac", "ab\U0001f415")]
    [4, 10, 24]
    """
    if not encoding.startswith("utf-8"):
        return 2 * len(data)  # two bytes give one character of up to four bytes
    if data.isascii():
        return len(data)
    return len(data) * (4 if re.search(rb"[\xf0-\xf4]", data) else 2)


def parse_json(
    text: str | bytes,
    most: int | None = None,
    members: Callable[[list[tuple[str, Any]]], Any] | None = None,
    *,
    finite: bool = False,
) -> Any:
    """The JSON value in a text.

    Args:
        text: the text.
        most: bytes of memory that the value may take, by an estimate; default `MAX_JSON`.
        members: function that makes an object from its (key, value) pairs; default a dictionary.
        finite: True refuses NaN and infinite numbers, which are not JSON but are accepted by default.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or would take too much memory.
    """
    most = MAX_JSON if most is None else most
    if len(text) > most // 100 and json_memory(text) > most:  # a character yields less than 100 bytes of values
        raise ValueError(f"it would take more than {most:,} bytes of memory; split it")
    try:
        if not finite:
            return json.loads(text, object_pairs_hook=members)
        return json.loads(text, object_pairs_hook=members, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {text[:40]}")
    return number


def read_json(path: str | Path, encoding: str | None = None, *, finite: bool = False) -> Any:
    """The JSON value in a file, decompressed if need be; `finite` is as in `parse_json`.

    Raises:
        InputError: it is missing, damaged, not JSON, or would take too much memory; the message names the place of the
            error.
    """
    text, most = read_text(path, encoding), json_limit(path)
    if json_memory(text) > most:
        raise InputError(
            f"expected JSON that takes at most {MAX_JSON:,} bytes of memory, or {MAX_JSON_RATIO} times the size of its "
            f"file, got more in {str(path)!r}; split the file"
        )
    try:
        return parse_json(text, most, finite=finite)
    except ValueError as error:
        raise InputError(f"cannot read {str(path)!r} as JSON: {error}; check the file") from error


def json_limit(path: str | Path) -> int:
    """Most bytes of memory that the value of a JSON file may take."""
    return max(MAX_JSON, MAX_JSON_RATIO * Path(path).stat().st_size)


def json_memory(text: str | bytes) -> int:
    """Estimate how many bytes of memory the value of a JSON text takes, without parsing it."""
    sizes = {"{": 96, "[": 72, ",": 40, '"': 25}
    if isinstance(text, str):
        return len(text) + sum(size * text.count(mark) for mark, size in sizes.items())
    return len(text) + sum(size * text.count(mark.encode()) for mark, size in sizes.items())


def iter_json_lines(path: str | Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value) of each line of a JSON Lines file that is not blank.

    Raises:
        InputError: the file cannot be read, or a line is not JSON or longer than `MAX_LINE`; the message names the
            line.
    """
    with reading(path, "JSON Lines"), open_text(path, newline="\n") as file:
        for number, line in enumerate(_text_lines(path, file), start=1):
            if not line.strip():
                continue
            try:
                value = parse_json(line)
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number}: expected a JSON value, got {line.strip()[:60]!r} ({error}); "
                    "correct the line"
                ) from error
            yield number, value


def iter_rows(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Yield (place for messages, row) of each row of a CSV or TSV file with a header, or of a JSON Lines file.

    Raises:
        InputError: the file cannot be read, a line is not JSON, or a line or row is too long; the message names the
            line.
    """
    if begins_with_brace(path):
        for number, value in iter_json_lines(path):
            yield f"line {number} of {str(path)!r}", value
        return
    rows = read_table(path)
    _, header = next(rows, (0, []))
    for number, (_, cells) in enumerate((row for row in rows if row[1]), start=1):
        yield f"row {number} of {str(path)!r}", dict(itertools.zip_longest(header, cells[: len(header)]))


def read_table(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, cells) of each row of a CSV or TSV file.

    Raises:
        InputError: the file cannot be read, or a line or row is too long.
    """
    with reading(path), open_text(path) as file:
        lines = _text_lines(path, file)
        first = next(lines, "")
        try:
            yield from table_rows(itertools.chain([first], lines), "\t" if "\t" in first else ",")
        except csv.Error as error:
            raise InputError(f"cannot read {str(path)!r} as a table: {error}; check the file") from error


def begins_with_brace(path: str | Path) -> bool:
    """Whether the first character of a text file after white space is "{", as in JSON Lines.

    Raises:
        InputError: the file cannot be read.
    """
    with reading(path), open_text(path) as file:
        while (piece := file.read(_BUFFER)) and not piece.strip():
            pass
        return piece.lstrip().startswith("{")


def bounded_gaps(path: str | Path, lines: Iterable[AnyStr]) -> Iterator[AnyStr]:
    """Yield the lines, and refuse more than `MAX_EMPTY` consecutive empty lines.

    Raises:
        InputError: there are more; a file of 300 million empty lines would take minutes.
    """
    empty = 0
    for line in lines:
        empty = empty + 1 if line.isspace() else 0
        if empty > MAX_EMPTY:
            raise InputError(
                f"expected rows in {str(path)!r}, got more than {MAX_EMPTY:,} consecutive empty lines; "
                "check the program that wrote it"
            )
        yield line


def table_rows(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, cells) of each row of a CSV text; a cell may hold line breaks in quotes.

    Raises:
        csv.Error: the text is not CSV, or a row has more than `MAX_CELLS` cells.

    >>> list(table_rows(["image,caption", 'a.png,"A dog, and', ' a cat."'], ","))
    [(1, ['image', 'caption']), (3, ['a.png', 'A dog, and a cat.'])]
    """
    marks = 0

    def counted() -> Iterator[str]:
        nonlocal marks
        for line in lines:
            marks += line.count(delimiter)
            if marks >= MAX_CELLS:
                raise csv.Error(f"expected rows of at most {MAX_CELLS:,} cells, got more")
            yield line

    reader = csv.reader(counted(), delimiter=delimiter)
    for cells in reader:
        yield reader.line_num, cells
        marks = 0


def _text_lines(path: str | Path, file: TextIO) -> Iterator[str]:
    """The lines of a text file.

    Raises:
        InputError: a line is longer than `MAX_LINE`, or there are too many consecutive empty lines.
    """
    lines = iter(lambda: file.readline(MAX_LINE + 1), "")
    for number, line in enumerate(bounded_gaps(path, lines), start=1):
        if len(line) > MAX_LINE:
            raise InputError(f"{path}, line {number}: expected at most {MAX_LINE:,} characters, got more; split it")
        yield line


def file_hash(path: str | Path) -> str:
    """The BLAKE2b digest of a file's content, as 32 hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


# --- writing ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing_to(path: str | Path) -> Iterator[None]:
    """Turn an error of writing, such as a full disk, into an `OutputError` with advice.

    Raises:
        OutputError: the block raised an OSError.
    """
    try:
        yield
    except HalluguardError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to {str(path)!r}: {error.strerror or error}; {_advice(error)}") from error


def _advice(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file stands where a folder is made: name another folder"
    if isinstance(error, IsADirectoryError):
        return "a folder stands where a file is written: name another file"
    return "free space or choose another folder, then run the same command again: what is finished is kept"


_Writing = contextlib.AbstractContextManager


@overload
def replacing(path: str | Path, mode: Literal["w"] = "w", *, errors: str = "strict") -> _Writing[TextIO]: ...
@overload
def replacing(path: str | Path, mode: Literal["wb"], *, errors: str = "strict") -> _Writing[BinaryIO]: ...
@contextlib.contextmanager  # type: ignore[misc]  # the overloads name what the decorated function returns
def replacing(path: str | Path, mode: str = "w", *, errors: str = "strict") -> Iterator[IO[Any]]:
    """Write a temporary file that replaces `path` at the end of the block, synced to disk. An error deletes it.

    Text is UTF-8 with "\\n" line ends. A name that ends in ".gz" or ".zst" is compressed; equal content gives equal
    bytes. A link at `path` is replaced, not followed. A device or pipe ("/dev/stdout") is written directly.

    Args:
        path: the file; its folder must exist.
        mode: "w" for text, "wb" for bytes.
        errors: as for the built-in `open`.

    Raises:
        OutputError: it cannot be written.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "names.txt"
    >>> with replacing(target) as file:
    ...     _ = file.write("dog\\n")
    >>> target.read_text()
    'dog\\n'
    """
    path = Path(path)
    if "\0" in path.name:
        raise OutputError(f"expected a name without null characters, got {path.name!r}; choose another")
    with writing_to(path.parent):
        if path.exists() and not path.is_symlink() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            with open(path, "wb") as raw, _encoder(raw, path, mode, errors) as file:
                yield file
            return
        temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")  # as in _TEMPORARY
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        try:
            with os.fdopen(os.open(temporary, flags, 0o666), "wb") as raw:
                with _encoder(raw, path, mode, errors) as file:
                    yield file
                raw.flush()
                os.fsync(raw.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


@contextlib.contextmanager
def _encoder(raw: BinaryIO, path: Path, mode: str, errors: str) -> Iterator[IO[Any]]:
    """A file that compresses and encodes into `raw`, which stays open."""
    with contextlib.ExitStack() as stack:
        binary: Any = raw
        if path.suffix == ".gz":
            binary = stack.enter_context(gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0))
        elif path.suffix == ".zst":
            import pyarrow as pa

            owned = os.fdopen(os.dup(raw.fileno()), "wb")  # pyarrow closes the file that it writes to
            binary = stack.enter_context(pa.CompressedOutputStream(pa.PythonFile(owned, "w"), "zstd"))
        if "b" in mode:
            yield binary
            return
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n", errors=errors)
        try:
            yield text
        finally:
            text.detach()  # flushes; `binary` is closed by its own context


def remove_leftovers(folder: str | Path) -> None:
    """Delete the temporary files of interrupted writes. No other process may be writing in the folder."""
    for file in Path(folder).glob(".*.tmp"):
        if _TEMPORARY.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # other systems cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str | Iterable[str]) -> None:
    """Write a text, or lines that end in a line break, as one atomic file; see `replacing`."""
    with replacing(path) as file:
        file.writelines([text] if isinstance(text, str) else text)


def write_json(path: str | Path, value: object, *, compact: bool = False) -> None:
    """Write a JSON value with sorted keys as one atomic file: indented by 2, or, if `compact`, without spaces."""
    indent, separators = (None, (",", ":")) if compact else (2, None)
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=True)
    write_text(path, text + "\n")


_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def json_line(value: object, *, spaces: bool = True) -> str:
    """A value as one line of JSON. Lone surrogates and special line separators are escaped.

    Args:
        value: the value.
        spaces: True puts a space after each comma and colon.

    >>> json_line({"caption": "né\\u2028"})
    '{"caption": "né\\\\u2028"}\\n'
    """
    separators = None if spaces else (",", ":")
    text = json.dumps(value, ensure_ascii=False, separators=separators)
    if text.isascii():
        return text + "\n"
    text = text.translate(_LINE_ENDS)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, separators=separators)
    return text + "\n"
