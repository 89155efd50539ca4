"""HTML pages of sections and elements: one file each, no script, nothing fetched, readable offline."""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from cpmae_bids import __version__
from cpmae_bids.deid.qc.thresholds import Threshold
from cpmae_bids.runtime.packaged import packaged_text


@dataclass(frozen=True)
class Element:
    """A part of a section."""

    kind: str  # 'text', 'heading', 'status', 'list', 'picture', 'drawing', 'table'
    text: str = ''  # the text, or the caption
    heads: Sequence[str] = ()  # names of the columns of a table
    rows: Iterable[Any] = ()  # items of a list, or rows of a table
    data: str = ''  # a PNG file in base64, or an ``<svg>`` element


@dataclass(frozen=True)
class Section:
    """A section of a page; `kind` is its class in the style sheet."""

    title: str
    elements: Iterable[Element]
    kind: str = ''


def text(content: str) -> Element:
    """Return a paragraph."""
    return Element('text', content)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> Element:
    """Return a table; numbers are shown with four digits, None as nothing."""
    return Element('table', caption, heads, rows)


def picture(caption: str, png: bytes) -> Element:
    """Return a picture, embedded."""
    return Element('picture', caption, data=base64.b64encode(png).decode('ascii'))


def required(limit: Threshold | None) -> str:
    """Say what a measure must be, such as "at least 0.1, at most 2"; nothing if it is not judged."""
    if limit is None:
        return ''
    bounds = (('at least', limit.low), ('at most', limit.high))
    return ', '.join(f'{word} {bound:.4g}' for word, bound in bounds if math.isfinite(bound))


def render(title: str, note: str, sections: Iterable[Section], style: str = '') -> str:
    """Return a page with a heading, a note, its sections, and how to cite; `style` adds CSS rules."""
    return _template().render(
        title=title,
        note=note,
        sections=[*sections, _citation()],
        style=packaged_text('reports/page.css') + style,
        version=__version__,
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_shown
    )
    return environment.from_string(packaged_text('reports/page.html'))


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return f'{value:.4g}'
    return '' if value is None else value


def _citation() -> Section:
    """How to cite, from the package's Markdown: a heading, paragraphs and lists."""
    heading, *paragraphs = packaged_text('data/citation.md').strip().split('\n\n')
    elements = []
    for paragraph in paragraphs:
        if paragraph.startswith('- '):
            items = paragraph.removeprefix('- ').split('\n- ')
            elements.append(Element('list', rows=[' '.join(item.split()) for item in items]))
        else:
            elements.append(text(' '.join(paragraph.split())))
    return Section(heading.removeprefix('# '), elements, 'citation')
