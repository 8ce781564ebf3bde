"""HTML by elements: whatever is not made here is text, so nothing that a run says is markup."""

from collections.abc import Iterable, Sequence

from harness import safe_text


class Markup(str):
    """HTML, as opposed to text."""

    __slots__ = ()


Content = str | Markup | None
"""What an element may have: text, which is escaped, or elements; nothing for None."""


def text(content: Content) -> Markup:
    """Return text as HTML, cut where it is long; HTML as it is."""
    return content if isinstance(content, Markup) else Markup("" if content is None else safe_text.html(content))


def tag(name: str, *children: Content, **attributes: str | bool | None) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        children: what it has.
        attributes: by name, `_` for `-` and one behind a word of Python; True for one without value, and None or False for none.
            What is HTML already, such as a picture's content, is neither escaped nor cut.
    """
    words = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inner = "".join(map(text, children))
    return Markup(f"<{name}{words}>" if name == "img" else f"<{name}{words}>{inner}</{name}>")


def join(parts: Iterable[Content]) -> Markup:
    """Return elements one behind another."""
    return Markup("".join(map(text, parts)))


def described(pairs: Iterable[tuple[str, Content]]) -> Markup:
    """Return a list of names with what they mean; a pair without content is left out."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", content)) for name, content in pairs if content))


def folded(summary: Content, *children: Content, **attributes: str | bool | None) -> Markup:
    """Return what shows behind a click."""
    return tag("details", tag("summary", summary), *children, **attributes)


def block(code: str, most: int = 20_000) -> Markup:
    """Return lines of code as they are, so many letters of them."""
    cut = code if len(code) <= most else f"{code[:most]}\n… ({len(code):,} letters)"
    lines = (safe_text.html(one.expandtabs(4), most) for one in cut.split("\n"))
    return tag("pre", tag("code", Markup("\n".join(lines))), tabindex="0")


MANY = 12  # columns, beyond which letters are smaller


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[Content]],
    *,
    numbers: Sequence[bool] = (),
    sorts: bool = False,
    of: str = "",
) -> Markup:
    """Return a table in a region of its own, which scrolls where the screen is narrower.

    Args:
        caption: what it is about, for whom it is read to as well.
        heads: of its columns.
        rows: its cells; the first of a row is its head.
        numbers: of each column, whether it has numbers, which stand at the right; none where none has.
        sorts: whether a reader can sort it.
        of: what tells it from other tables of this caption, for whom it is read to.
    """
    right = [*numbers, *[False] * (len(heads) - len(numbers))]
    classes = ["number" if one else None for one in right]
    head = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in zip(heads, classes, strict=True)))
    body = [
        tag("tr", *(
            tag("th", cell, scope="row", class_=kind) if i == 0 else tag("td", cell, class_=kind)
            for i, (cell, kind) in enumerate(zip(row, classes, strict=True))
        ))
        for row in rows
    ]  # fmt: skip
    kinds = ["sorts"] * sorts + ["wide"] * (len(heads) > MANY)
    inner = tag(
        "table", tag("caption", caption), tag("thead", head), tag("tbody", *body), class_=" ".join(kinds) or None
    )
    return tag("div", inner, class_="scrolls", role="region", aria_label=f"{caption} {of}".strip(), tabindex="0")
