"""Self-contained HTML reports: one file each, no script, nothing fetched, readable offline.

The page of a subject is shared with the images. It is made from what lies in the output and shows the
generated head only. The page before/after of a scan shows the original face and is written elsewhere.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path

from cpmae_bids import __version__
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.records import read_records
from cpmae_bids.deid.qc.thresholds import Threshold, common_thresholds
from cpmae_bids.reports.figures import figure_path

CAPTIONS = {
    'face': 'The skin of what lies around the brain, from three sides.',
    'slices': 'The de-identified scan: sagittal, coronal and axial slices through the brain (above) and '
    'through the face (below). The right of the subject is on the left; in sagittal slices, the front.',
}
SETTINGS = {
    'version': 'Version',
    'model_hash': 'Hash of the weights',
    'preset': 'Preset (voxels along an edge of the cube)',
    'steps': 'Refinement steps',
    'seed': 'Seed',
    'template': 'Template',
    'reference': 'Head generated around the brain of',
    't1w': 'Brain found by',
    'fill': 'Around the brain',
}
SUBJECT_NOTE = (
    'The shape of the head was generated from the brain alone; the voxels of the brain are those of '
    'the original. No picture on this page shows the original head.'
)
COMPARED = 'Compared with the original: only whether it is within limits is published'
WITHIN = {True: 'within limits', False: 'beyond limits'}
PRIVATE_NOTE = 'This page shows the original face. It is not for sharing.'


def write_subject_report(output_dir: Path, subject: str) -> Path | None:
    """Write the page of a subject, ``sub-<label>.html``, from the records and pictures in the output.

    Parameters
    ----------
    output_dir : Path
        The output dataset.
    subject : str
        Label without ``sub-``.

    Returns
    -------
    Path or None
        The page; None, and none is left, if there is no record of this subject.
    """
    output_dir = Path(output_dir)
    page = output_dir / f'sub-{subject}.html'
    records = {
        name: record
        for name, record in read_records(output_dir).items()
        if name.partition('_')[0] == f'sub-{subject}'
    }
    if not records:
        OutputFolder(output_dir).remove(page)
        return None
    sections = (
        _scan_section(name, record, _pictures(output_dir, name, record)) for name, record in records.items()
    )
    OutputFolder(output_dir).write(page, _page(f'sub-{subject}', SUBJECT_NOTE, sections))
    return page


def private_page(name: str, record: dict, pictures: dict[str, bytes]) -> str:
    """Return the page before/after of one scan.

    Parameters
    ----------
    name : str
        Name of the scan.
    record : dict
        Its verdict.
    pictures : dict
        PNG files by their captions, in the order in which they are shown.
    """
    return _page(f'{name}, before and after', PRIVATE_NOTE, [_scan_section(name, record, pictures)])


def _pictures(output_dir: Path, name: str, record: dict) -> dict[str, bytes]:
    """PNG files of a scan by their captions; none unless it passed."""
    if record['status'] != 'pass':
        return {}
    paths = {caption: figure_path(output_dir, name, figure) for figure, caption in CAPTIONS.items()}
    return {caption: path.read_bytes() for caption, path in paths.items() if path.is_file()}


def _page(title: str, note: str, sections: Iterable[str]) -> str:
    style = files('cpmae_bids').joinpath('reports/report.css').read_text('utf-8')
    return '\n'.join([
        '<!DOCTYPE html>',
        '<html lang="en">',
        '<head>',
        '<meta charset="utf-8"/>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        f'<title>{escape(title)} - cpmae-bids</title>',
        f'<style>\n{style}</style>',
        '</head>',
        '<body>',
        f'<h1>{escape(title)}</h1>',
        f'<p>{escape(note)}</p>',
        *sections,
        _citation(),
        f'<footer>Made by cpmae-bids {escape(__version__)}.</footer>',
        '</body>',
        '</html>',
        '',
    ])  # fmt: skip


def _scan_section(name: str, record: dict, pictures: dict[str, bytes]) -> str:
    status = str(record['status'])
    parts = [f'<h2>{escape(name)}</h2>', f'<p class="status {escape(status)}">Verdict: {escape(status)}</p>']
    if reasons := record.get('reasons'):
        parts += ['<ul>', *(f'<li>{escape(str(reason))}</li>' for reason in reasons), '</ul>']
    for caption, png in pictures.items():
        data = base64.b64encode(png).decode('ascii')
        parts += [
            '<figure>',
            f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}"/>',
            f'<figcaption>{escape(caption)}</figcaption>',
            '</figure>',
        ]
    # The limits of another version may have been others
    same = record.get('version') == __version__
    limits = common_thresholds([record.get('fill') or '']) if same else {}
    if measures := record.get('measures'):
        rows = [(name, value, _range(limits.get(name))) for name, value in measures.items()]
        parts.append(_table('Measures', ('Measure', 'Value', 'Must be'), rows))
    if within := record.get('within_limits'):
        rows = [(name, WITHIN[holds], _range(limits.get(name))) for name, holds in within.items()]
        parts.append(_table(COMPARED, ('Measure', 'Result', 'Must be'), rows))
    settings = [(label, record[key]) for key, label in SETTINGS.items() if record.get(key) not in (None, '')]
    parts.append(_table('Settings', ('Setting', 'Value'), settings))
    return '\n'.join(['<section>', *parts, '</section>'])


def _table(caption: str, heads: tuple[str, ...], rows: Iterable[tuple]) -> str:
    def line(tag: str, cells) -> str:
        return '<tr>' + ''.join(f'<{tag}>{escape(_text(cell))}</{tag}>' for cell in cells) + '</tr>'

    return '\n'.join([
        '<table>',
        f'<caption>{escape(caption)}</caption>',
        f'<thead>{line("th", heads)}</thead>',
        '<tbody>',
        *(line('td', row) for row in rows),
        '</tbody>',
        '</table>',
    ])  # fmt: skip


def _range(limit: Threshold | None) -> str:
    """Say what a measure must be, such as "at least 0.1, at most 2"; nothing if it is not judged."""
    if limit is None:
        return ''
    bounds = (('at least', limit.low), ('at most', limit.high))
    return ', '.join(f'{word} {bound:.4g}' for word, bound in bounds if math.isfinite(bound))


def _text(value) -> str:
    """Numbers with four digits, anything else as it is; nothing for None."""
    if isinstance(value, float):
        return f'{value:.4g}'
    return '' if value is None else str(value)


def _citation() -> str:
    """The text on how to cite, from the package's Markdown: a heading, paragraphs and lists."""
    text = (
        files('cpmae_bids').joinpath('data/citation.md').read_text('utf-8').replace('{version}', __version__)
    )
    parts = ['<section class="citation">']
    for block in text.strip().split('\n\n'):
        if block.startswith('# '):
            parts.append(f'<h2>{escape(block.removeprefix("# "))}</h2>')
        elif block.startswith('- '):
            items = block.removeprefix('- ').split('\n- ')
            parts += ['<ul>', *(f'<li>{escape(" ".join(item.split()))}</li>' for item in items), '</ul>']
        else:
            parts.append(f'<p>{escape(" ".join(block.split()))}</p>')
    return '\n'.join([*parts, '</section>'])
