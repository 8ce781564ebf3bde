"""Readers for two formats in which collections of documents are published as counts of words.

    UCI      docword.NAME.txt(.gz): three lines with the number of documents D, of words W, and of lines that follow; then a line
             `document word count` for each word of each document. Documents and words are numbered from 1.
    LDA-C    NAME.ldac: a line `n word:count … word:count` for each document, of its n different words, numbered from 0.

Both are read a block at a time. Every message about a file says in which line it is wrong.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import numpy as np

from harness.data.download import MissingData, note
from harness.data.validation import MOST_COUNTED
from harness.errors import BadInput

BLOCK = 1 << 22  # bytes that are read at a time
LONGEST_LINE = 1 << 24  # bytes
NAMED = 10  # files, in a message
_PAIRS = re.compile(rb"\s*(\d{1,15})((?:\s+\d{1,15}:\d{1,15})*)\s*")
_WHOLE = re.compile(rb"[+-]?\d{1,15}(\.0*)?")

Lines = Iterator[tuple[int, bytes]]
"""Blocks of whole lines, each with the number of its first line."""


@dataclass(frozen=True)
class WordCounts:
    """How often words occur in documents, an entry for each word that a document has.

    Attributes:
        document: of each entry, numbered from 0 (E,).
        word: of each entry, numbered from 0 (E,).
        count: of each entry, from 1 on (E,).
        documents: how many there are, D.
        words: of the vocabulary, W.
    """

    document: np.ndarray[Any, Any]
    word: np.ndarray[Any, Any]
    count: np.ndarray[Any, Any]
    documents: int
    words: int

    @property
    def filled(self) -> int:
        """How many documents have a word."""
        return len(np.unique(self.document))

    @property
    def first_empty(self) -> int | None:
        """The number of the first document without a word; None if each has one."""
        found = np.unique(self.document)
        if len(found) == self.documents:
            return None
        return int(np.flatnonzero(np.append(found, -1) != np.arange(len(found) + 1))[0])


def word_counts_file(folder: Path | None, name: str) -> Path:
    """Return the path of a file of word counts in a folder.

    Raises:
        MissingData: there is none at all, or the name is empty.
        BadInput: the name is none of those that are there.
    """
    forms = "docword.NAME.txt, docword.NAME.txt.gz or NAME.ldac"
    if folder is None:
        raise MissingData(f"no folder is named: give the one that has a file {forms} with --data-dir FOLDER")
    there = sorted(path.name for path in folder.iterdir() if _form(path.name) and path.is_file())
    if not there:
        raise MissingData(
            f"{folder} has no file of word counts, {forms}: name a folder that has one with --data-dir FOLDER"
        )
    if name not in there:
        more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
        choices = f"choose one of those in {folder} with --file NAME: {', '.join(there[:NAMED])}{more}"
        if not name:
            raise MissingData(f"no file of word counts is named: {choices}")
        raise BadInput(f"--file is {name!r}: {choices}")
    return folder / name


def _form(name: str) -> str | None:
    """Return which format a file of this name has; None if it is of another kind."""
    if re.fullmatch(r"docword\..+\.txt(\.gz)?", name):
        return "uci"
    return "ldac" if name.endswith(".ldac") else None


def _vocabulary_of(path: Path) -> Path | None:
    """Return the file of the words beside a file of counts, a word a line; None if there is none."""
    if _form(path.name) == "uci":
        names = [path.name.removesuffix(".gz").replace("docword.", "vocab.", 1)]
    else:
        stem = path.name.removesuffix(".ldac")
        names = [f"{stem}.tokens", f"{stem}.vocab", f"vocab.{stem}.txt"]
    return next((path.parent / name for name in names if (path.parent / name).is_file()), None)


def read_word_counts(path: Path, empty: Literal["refuse", "leave-out"] = "refuse") -> WordCounts:
    """Return what a file of word counts holds; its format is that of its name, and its vocabulary is looked for beside it.

    Args:
        path: of the file.
        empty: whether a document without a word is refused, or taken as it is.

    Raises:
        BadInput: it cannot be read, or is not sound, with the line.
    """
    vocabulary = _vocabulary_of(path)
    for one in filter(None, (path, vocabulary)):
        note(path.parent, one)
    words = None if vocabulary is None else _count_lines(vocabulary)
    try:
        with _open(path) as file:
            parse = parse_ldac if _form(path.name) == "ldac" else parse_uci
            found = parse(_blocks(file), words)
        if empty == "refuse" and (number := found.first_empty) is not None:
            instead = "no word can be predicted in it: take it out of the file, or give --empty leave-out"
            if parse is parse_ldac:
                _wrong(number + 1, f"the document is empty, and {instead}")
            raise BadInput(
                f"has no line about document {number + 1:,} of {found.documents:,}, which is empty; {instead}"
            )
        return found
    except BadInput as error:
        raise BadInput(f"{path}{error}" if str(error).startswith(",") else f"{path} {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(
            f"{path} cannot be read to its end ({getattr(error, 'strerror', None) or error}): is it whole?"
        ) from error


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb")  # its caller closes it


def _count_lines(path: Path) -> int:
    """Return how many words a vocabulary file has, one a line."""
    try:
        with open(path, "rb") as file:
            n = 0
            for first, block in _blocks(file):
                for n, line in enumerate(block.splitlines(), first):  # the last one's number is their number
                    if not line.strip():
                        raise BadInput(f", line {n:,}: it is empty, and a vocabulary has one word a line")
            return n
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror})") from error
    except BadInput as error:
        raise BadInput(f"{path}{error}") from error


def read_ldac(content: bytes) -> WordCounts:
    """Return the counts in a .ldac file's content; BadInput if it is not sound."""
    return parse_ldac(_blocks(io.BytesIO(content)))


def read_uci(content: bytes) -> WordCounts:
    """Return the counts in a docword file's content; BadInput if it is not sound."""
    return parse_uci(_blocks(io.BytesIO(content)))


def _blocks(file: BinaryIO | gzip.GzipFile | io.BytesIO) -> Lines:
    """Yield a file's lines, many at a time."""
    rest, number = b"", 1
    while block := file.read(BLOCK):
        whole, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield number, whole + newline
            number += whole.count(10) + 1
        if len(rest) > LONGEST_LINE:
            _wrong(number, f"it is longer than {LONGEST_LINE:,} bytes")
    if rest.strip():
        yield number, rest


def _wrong(number: int, what: str) -> NoReturn:
    raise BadInput(f", line {number:,}: {what}")


def _clipped(text: bytes) -> str:
    """Return text of a file for a message."""
    return repr(text.decode(errors="replace")[:40])


# -- UCI


def parse_uci(lines: Lines, words: int | None = None) -> WordCounts:
    """Return the counts in the lines of a docword file.

    Args:
        lines: see `Lines`.
        words: of its vocabulary file, if there is one.

    Raises:
        BadInput: they are not sound; the message begins with a comma and the line.
    """
    header: list[int] = []
    parts: list[np.ndarray[Any, Any]] = []
    n, number = 0, 0
    for first, block in lines:
        number = first
        while len(header) < 3 and block:
            line, _, block = block.partition(b"\n")
            header.append(_header(number, line, len(header), words))
            number += 1
        if block.strip():
            part = _triples(number, block, header)
            n += len(part)
            if n > header[2]:
                _wrong(
                    number + len(part) - (n - header[2]),
                    f"line 3 says that {header[2]:,} lines follow, and here is one more",
                )
            parts.append(part.astype(np.int32))
    if len(header) < 3:
        _wrong(
            len(header) + 1,
            "the file ends where the number of documents, of words and of lines should stand, a line each",
        )
    if n < header[2]:
        raise BadInput(f"ends after {n:,} lines of counts, and its line 3 says that {header[2]:,} follow: is it whole?")
    document, word, count = np.concatenate(parts).T if parts else np.empty((3, 0), np.int32)
    key = (document.astype(np.int64) - 1) * header[1] + word
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(np.diff(key[order]) == 0)
    if len(again):
        at = int(order[again + 1].min())
        _wrong(at + 4, f"word {word[at]:,} of document {document[at]:,} has a line already")
    used = count > 0
    return WordCounts(document[used] - 1, word[used] - 1, count[used], header[0], header[1])


HEADER = ("the number of documents", "the number of words", "the number of lines that follow")


def _header(number: int, line: bytes, which: int, words: int | None) -> int:
    found = line.strip()
    if not re.fullmatch(rb"\d{1,15}", found) or not (value := int(found)):
        _wrong(
            number, f"it is {_clipped(found)}, and {HEADER[which]} should stand there alone, a whole number from 1 on"
        )
    if value >= 1 << 31:
        _wrong(number, f"{HEADER[which]} is {value:,}, more than can be read")
    if which == 1 and words not in (None, value):
        _wrong(number, f"{HEADER[which]} is {value:,}, and the vocabulary file beside it has {words:,} lines")
    return value


def _triples(number: int, block: bytes, header: list[int]) -> np.ndarray[Any, Any]:
    """Return the lines `document word count` of a block (n, 3), each of them checked; `number` is that of the first."""
    try:
        found = np.loadtxt(io.BytesIO(block), dtype=np.float64, comments=None, ndmin=2)
        lines = block.count(10) + (not block.endswith(b"\n"))
        if found.shape == (lines, 3) and not _bad(found, header).any():
            return found
    except ValueError:
        pass
    for at, line in enumerate(block.split(b"\n"), number):
        if not line.strip() and at - number == block.count(10):
            break  # what is behind the last line
        values = line.split()
        if len(values) != 3 or not all(map(_WHOLE.fullmatch, values)):
            _wrong(
                at,
                f"it is {_clipped(line.strip())}, and three whole numbers should stand there: document, word and count",
            )
        one = np.array([[float(value) for value in values]])
        if _bad(one, header).any():
            document, word, count = map(int, one[0])
            if not 1 <= document <= header[0]:
                _wrong(at, f"document {document:,} is out of range: line 1 says 1 to {header[0]:,}")
            if not 1 <= word <= header[1]:
                _wrong(at, f"word {word:,} is out of range: line 2 says 1 to {header[1]:,}")
            _wrong(at, _not_counted(count))
    raise BadInput(f", from line {number:,} on: it cannot be read as numbers")


def _bad(found: np.ndarray[Any, Any], header: list[int]) -> np.ndarray[Any, Any]:
    low, high = np.array([1, 1, 0]), np.array([header[0], header[1], MOST_COUNTED])
    sound: np.ndarray[Any, Any] = ((found >= low) & (found <= high) & (found == np.rint(found))).all(-1)
    return ~sound


def _not_counted(count: int) -> str:
    return f"the count is {count:,}, and counts are whole numbers from 0 to {MOST_COUNTED:,}"


# -- LDA-C


def parse_ldac(lines: Lines, words: int | None = None) -> WordCounts:
    """Return the counts in the lines of a .ldac file.

    Args:
        lines: see `Lines`.
        words: of the vocabulary; if it is None, the greatest number of a word says how many there are.

    Raises:
        BadInput: they are not sound; the message begins with a comma and the line.
    """
    parts, n = [], 0
    for first, block in lines:
        for number, line in enumerate(block.splitlines(), first):
            parts.append(_document(number, line, words))
            n += 1
    if not n:
        raise BadInput("is empty: a line `n word:count … word:count` for each document should stand there")
    document = np.repeat(np.arange(n), [len(part) for part in parts])
    word, count = np.concatenate(parts).T
    used = count > 0
    most = int(word.max(initial=0)) + 1
    return WordCounts(document[used], word[used], count[used], n, words or most)


def _document(number: int, line: bytes, words: int | None) -> np.ndarray[Any, Any]:
    """Return the words of a line and their counts (n, 2), checked."""
    found = _PAIRS.fullmatch(line)
    if found is None:
        for pair in line.split()[1:]:
            word, _, count = pair.partition(b":")
            if _WHOLE.fullmatch(word) and _WHOLE.fullmatch(count) and int(float(count)) < 0:
                _wrong(number, _not_counted(int(float(count))))
        _wrong(
            number,
            f"it is {_clipped(line.strip())}, and `n word:count … word:count` should stand there, in whole numbers",
        )
    numbers = np.array(found[2].replace(b":", b" ").split(), np.int64).reshape(-1, 2)
    if int(found[1]) != len(numbers):
        _wrong(number, f"it begins with {int(found[1]):,}, and {len(numbers):,} different words follow")
    if not len(numbers):
        return numbers
    if numbers[:, 1].max() > MOST_COUNTED:
        _wrong(number, _not_counted(int(numbers[:, 1].max())))
    if words is not None and numbers[:, 0].max() >= words:
        _wrong(
            number,
            f"word {numbers[:, 0].max():,} is out of range: the vocabulary file has {words:,} lines, for words from 0 on",
        )
    if len(np.unique(numbers[:, 0])) < len(numbers):
        _wrong(number, "a word stands there twice")
    return numbers
