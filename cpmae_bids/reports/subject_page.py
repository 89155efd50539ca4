"""The page of a subject, and the page before/after of a scan.

The page of a subject is shared with the images. It is made from what lies in the output and shows the
generated head only. The page before/after of a scan shows the original face and is written elsewhere.
"""

from pathlib import Path

from cpmae_bids import __version__
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.verdict_records import read_records
from cpmae_bids.deid.qc.thresholds import common_thresholds
from cpmae_bids.reports.figures import figure_path
from cpmae_bids.reports.page import Element, Section, picture, render, required, table

CAPTIONS = {
    'face': 'The skin around the brain, from three sides.',
    'slices': 'The de-identified scan: sagittal, coronal and axial slices through the brain (above) and '
    'through the face (below). The right of the subject is on the left; in sagittal slices, the front.',
}
SETTINGS = {
    'version': 'Version',
    'model_hash': 'Hash of the weights',
    'preset': 'Preset (voxels along an edge of the template grid)',
    'steps': 'Refinement steps',
    'seed': 'Seed',
    'template': 'Template',
    'reference': 'Head generated around the brain of',
    't1w': 'Brain located by',
    'fill': 'Around the brain',
}
SUBJECT_NOTE = (
    'The shape of the head was generated from the brain alone; the voxels of the brain are those of '
    'the original. No picture on this page shows the original head.'
)
COMPARED = 'Metrics that involve the original: published as pass or fail only'
WITHIN = {True: 'within the threshold', False: 'beyond the threshold'}
PRIVATE_NOTE = 'This page shows the original face. It is not for sharing.'


def write_subject_report(output_dir: Path, subject: str) -> Path | None:
    """Write the page of a subject, ``sub-<label>.html``, from the records and pictures in the output.

    Without a record of the subject (label without ``sub-``) no page is left, and None is returned.
    """
    output_dir = Path(output_dir)
    page = output_dir / f'sub-{subject}.html'
    records = read_records(output_dir, subject)
    if not records:
        OutputFolder(output_dir).remove(page)
        return None
    sections = (
        _scan_section(name, record, _pictures(output_dir, name, record)) for name, record in records.items()
    )
    OutputFolder(output_dir).write(page, render(f'sub-{subject}', SUBJECT_NOTE, sections))
    return page


def private_page(name: str, record: dict, pictures: dict[str, bytes]) -> str:
    """Return the page before/after of one scan, with its verdict and PNG files by their captions."""
    return render(f'{name}, before and after', PRIVATE_NOTE, [_scan_section(name, record, pictures)])


def _pictures(output_dir: Path, name: str, record: dict) -> dict[str, bytes]:
    """PNG files of a scan by their captions; none unless it passed."""
    if record['status'] != 'pass':
        return {}
    paths = {caption: figure_path(output_dir, name, figure) for figure, caption in CAPTIONS.items()}
    return {caption: path.read_bytes() for caption, path in paths.items() if path.is_file()}


def _scan_section(name: str, record: dict, pictures: dict[str, bytes]) -> Section:
    elements = [Element('status', str(record['status']))]
    if reasons := record.get('reasons'):
        elements.append(Element('list', rows=reasons))
    elements += [picture(caption, png) for caption, png in pictures.items()]
    # Another version may have had other thresholds
    same = record.get('version') == __version__
    limits = common_thresholds([record.get('fill') or '']) if same else {}
    if measures := record.get('measures'):
        rows = [(name, value, required(limits.get(name))) for name, value in measures.items()]
        elements.append(table('Metrics', ('Metric', 'Value', 'Threshold'), rows))
    if within := record.get('within_limits'):
        rows = [(name, WITHIN[holds], required(limits.get(name))) for name, holds in within.items()]
        elements.append(table(COMPARED, ('Metric', 'Result', 'Threshold'), rows))
    settings = [(label, record[key]) for key, label in SETTINGS.items() if record.get(key) not in (None, '')]
    elements.append(table('Settings', ('Setting', 'Value'), settings))
    return Section(name, elements)
