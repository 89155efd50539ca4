"""Reports: what they show, what they must not show, and that they need nothing but a browser."""

import base64
import io
import json
import stat
from html.parser import HTMLParser
from xml.etree import ElementTree

import nibabel as nb
import numpy as np
import pytest
from PIL import Image

from cpmae_bids import __version__
from cpmae_bids.bids.publish import withdraw_scan
from cpmae_bids.bids.scan import Scan
from cpmae_bids.bids.verdict_records import write_record
from cpmae_bids.exceptions import VerdictError
from cpmae_bids.reports.figures import figure_path, publish_figures
from cpmae_bids.reports.group_page import write_group_report
from cpmae_bids.reports.pictures import GAP, face_picture, png, slices_picture
from cpmae_bids.reports.subject_page import write_subject_report
from cpmae_bids.steps.private_report import private_report
from cpmae_bids.steps.report import report

RECORD = {
    'scan': 'sub-01/anat/sub-01_T1w.nii.gz',
    'status': 'pass',
    'reasons': [],
    'measures': {'rotation_deg': 4.56789, 'kept_voxels_changed': 0, 'brain_ml': None, 'seam_ratio': 1.23456},
    'version': __version__,
    'model_hash': 'f00dcafe',
    'preset': '128',
    'seed': 31,
    'steps': 8,
    'source_crc32': 'deadbeef',
}


@pytest.fixture
def head(phantom):
    """Head phantom at 4 mm: intensities, affine and brain."""
    volume, brain = phantom((40, 48, 44))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = [-80, -96, -88]
    return volume, affine, brain


@pytest.fixture
def files(head, tmp_path):
    """What the steps of the report read, in a folder whose name must not get into a shared page."""
    volume, affine, brain = head
    folder = tmp_path / 'secret-place'
    folder.mkdir()
    nb.save(nb.Nifti1Image(volume, affine), folder / 'refaced.nii.gz')
    nb.save(nb.Nifti1Image(volume[::-1] * 0.9, affine), folder / 'original.nii.gz')
    nb.save(nb.Nifti1Image(brain.astype(np.uint8), affine), folder / 'kept.nii.gz')
    (folder / 'verdict.json').write_text(json.dumps(RECORD))
    return folder


@pytest.fixture
def output(tmp_path):
    """An output folder with one passed and one failed scan of a subject, and another subject."""
    out = tmp_path / 'out'
    write_record(out, 'sub-01_run-1_T1w', RECORD)
    failed = {**RECORD, 'status': 'fail', 'reasons': ['the <head> & the air are "the same"']}
    write_record(out, 'sub-01_run-2_T1w', failed)
    write_record(out, 'sub-011_T1w', {**RECORD, 'model_hash': 'of-another-subject'})
    for run in (1, 2):
        drawn = {}
        for grey, figure in enumerate(('face', 'slices')):
            drawn[figure] = tmp_path / f'{figure}.png'
            drawn[figure].write_bytes(png(np.full((4, 6), 10 * run + grey, np.uint8)))
        publish_figures(out, f'sub-01_run-{run}_T1w', drawn)
    return out


class Links(HTMLParser):
    """Collects what a browser would fetch or run."""

    def __init__(self):
        super().__init__()
        self.sources, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for key, value in attrs if key in ('src', 'href', 'srcset', 'data', 'action')]


def read_page(path):
    text = path.read_text('utf-8')
    links = Links()
    links.feed(text)
    return text, links


def test_the_page_is_well_formed_and_fetches_nothing(output):
    text, links = read_page(write_subject_report(output, '01'))
    doctype, _, rest = text.partition('\n')
    assert doctype == '<!DOCTYPE html>'
    ElementTree.fromstring(rest)  # every tag closed, every text escaped
    assert links.sources
    assert all(source.startswith('data:image/png;base64,') for source in links.sources)
    assert not links.tags & {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'}
    assert 'url(' not in text
    assert '@import' not in text


def test_the_page_holds_verdicts_measures_settings_and_citation(output):
    text, _ = read_page(write_subject_report(output, '01'))
    for words in ('Verdict: pass', 'Verdict: fail', '4.568', 'at most 0', 'at least', 'f00dcafe', '31'):
        assert words in text
    assert '<td>seam_ratio</td><td>within the threshold</td><td>at least 0, at most 1.5</td>' in text
    assert '1.23' not in text
    assert 'the &lt;head&gt; &amp; the air are &#34;the same&#34;' in text
    assert '2310.15778' in text
    assert 'of-another-subject' not in text
    assert 'deadbeef' not in text  # made from the original


def test_limits_of_another_version_are_not_shown(output):
    write_record(output, 'sub-02_T1w', {**RECORD, 'version': '0.0.1'})
    text, _ = read_page(write_subject_report(output, '02'))
    assert '4.568' in text
    assert 'at least' not in text


def test_the_page_shows_pictures_of_passed_scans_only(output):
    _, links = read_page(write_subject_report(output, '01'))
    shown = [base64.b64decode(source.partition(',')[2]) for source in links.sources]
    kept = [figure_path(output, 'sub-01_run-1_T1w', figure).read_bytes() for figure in ('face', 'slices')]
    assert shown == kept


def test_the_page_holds_no_path(output, tmp_path):
    text, _ = read_page(write_subject_report(output, '01'))
    assert str(tmp_path) not in text


def test_without_records_no_page_is_left(output):
    page = write_subject_report(output, '01')
    for path in (output / 'logs/verdicts').glob('sub-01_*'):
        path.unlink()
    assert write_subject_report(output, '01') is None
    assert not page.exists()


def test_figures_and_pages_that_show_them_go_with_the_images(output, tmp_path):
    """The head may have been rejected, and the page of all scans is not written again by the same run."""
    for subject in ('01', '011'):
        write_subject_report(output, subject)
    group_page = write_group_report(output, [], [], [], [])
    t1w = tmp_path / 'sub-01_run-2_T1w.nii.gz'
    withdraw_scan(Scan(t1w, f'sub-01/anat/{t1w.name}', '01', None, {'sub': '01', 'run': '2'}, {}, 0), output)
    assert sorted(path.name for path in (output / 'figures').iterdir()) == [
        'sub-01_run-1_T1w_face.png',
        'sub-01_run-1_T1w_slices.png',
    ]
    assert not group_page.exists()
    assert [page.name for page in output.glob('*.html')] == ['sub-011.html']


def draw(files):
    names = ('refaced.nii.gz', 'kept.nii.gz', 'verdict.json', 'slices.png', 'face.png')
    report(*(files / name for name in names))


def test_figures_of_an_earlier_head_do_not_outlive_a_full_disk(output, tmp_path):
    drawn = {'face': tmp_path / 'missing.png', 'slices': tmp_path / 'slices.png'}
    with pytest.raises(OSError, match='missing'):
        publish_figures(output, 'sub-01_run-1_T1w', drawn)
    assert not list((output / 'figures').glob('sub-01_run-1*'))


def test_the_report_step_draws_a_passed_scan(files):
    draw(files)
    for name in ('slices.png', 'face.png'):
        picture = np.asarray(Image.open(files / name))
        assert picture.std() > 10
    # Text chunks of a PNG could hold names and dates
    assert not Image.open(files / 'face.png').info


def test_the_report_step_draws_no_failed_scan(files):
    (files / 'verdict.json').write_text(json.dumps({**RECORD, 'status': 'fail', 'reasons': ['no']}))
    draw(files)
    assert not list(files.glob('*.png'))


def test_a_passed_scan_without_a_head_is_an_error(files, head):
    nb.save(nb.Nifti1Image(np.zeros_like(head[0]), head[1]), files / 'refaced.nii.gz')
    with pytest.raises(VerdictError, match='refaced'):
        draw(files)
    assert not list(files.glob('*.png'))


@pytest.mark.parametrize('status', ['pass', 'fail'])
def test_the_private_page_shows_both_and_is_readable_for_its_owner_alone(files, tmp_path, status):
    (files / 'verdict.json').write_text(json.dumps({**RECORD, 'status': status, 'reasons': ['why']}))
    page = tmp_path / 'private' / 'sub-01_T1w.html'
    page.parent.mkdir()
    page.write_text('the page of an earlier run, which all could read')
    names = ('original.nii.gz', 'refaced.nii.gz', 'kept.nii.gz', 'verdict.json')
    private_report(*(files / name for name in names), 'sub-01_T1w', page)
    numbers = page.with_name('sub-01_T1w.json')
    assert {stat.S_IMODE(path.stat().st_mode) for path in (page, numbers)} == {0o600}
    assert numbers.read_text() == (files / 'verdict.json').read_text()
    text, links = read_page(page)
    assert '1.235' in text  # of seam_ratio, which is not published
    ElementTree.fromstring(text.partition('\n')[2])
    assert len(links.sources) == 4
    assert len(set(links.sources)) == 4
    assert 'not for sharing' in text
    for label in ('before: slices', 'after: slices', 'before: skin', 'after: skin'):
        assert label in text


@pytest.mark.parametrize('codes', ['RAS', 'LPS', 'AIL'])
def test_slices_do_not_depend_on_the_orientation_on_disk(head, codes):
    volume, affine, brain = head
    volume = volume.copy()
    volume[30:, 30:, 30:] += 500  # a mark at the right, front, top
    upright = slices_picture(volume, affine, brain)
    orientation = nb.orientations.ornt_transform(
        nb.orientations.axcodes2ornt('RAS'), nb.orientations.axcodes2ornt(codes)
    )
    turned = nb.Nifti1Image(volume, affine).as_reoriented(orientation)
    turned_brain = nb.Nifti1Image(brain.astype(np.uint8), affine).as_reoriented(orientation)
    assert nb.aff2axcodes(turned.affine) == tuple(codes)
    picture = slices_picture(np.asarray(turned.dataobj), turned.affine, np.asarray(turned_brain.dataobj))
    np.testing.assert_array_equal(picture, upright)


def test_slices_show_the_right_of_the_subject_on_the_left_and_the_front_up(head):
    volume, affine, brain = head
    volume = np.zeros_like(volume)
    volume[30:38, 34:46] = 100  # right and front of a 160 x 192 x 176 mm box
    picture = slices_picture(volume, affine, brain, window=(0, 100))
    height = (picture.shape[0] - GAP) // 2
    sagittal_width, coronal_width = round(192 / 0.8), round(160 / 0.8)
    axial = picture[:height, sagittal_width + coronal_width + 2 * GAP :]
    rows, columns = np.nonzero(axial)
    assert columns.mean() < axial.shape[1] / 2
    assert rows.mean() < axial.shape[0] / 2


def test_png_is_the_same_each_time(head):
    picture = face_picture(*head[:2])
    assert png(picture) == png(picture)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
