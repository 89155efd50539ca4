"""Output names keep every entity of the source, in the order of the BIDS schema."""

import pytest

from cpmae_bids.bids.patterns import output_kinds, output_path, split_name
from cpmae_bids.exceptions import InputError


@pytest.mark.parametrize(
    ('source', 'kind', 'expected'),
    [
        ('sub-01/anat/sub-01_T1w.nii', 'refaced', 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz'),
        (
            'sub-01/ses-x/anat/sub-01_ses-x_acq-hi_run-01_T1w.nii.gz',
            'refaced',
            'sub-01/ses-x/anat/sub-01_ses-x_acq-hi_run-01_desc-refaced_T1w.nii.gz',
        ),
        (
            'sub-01/anat/sub-01_run-2_chunk-3_T1w.nii.gz',
            'defacemask',
            'sub-01/anat/sub-01_run-2_mod-T1w_chunk-3_desc-refaced_defacemask.nii.gz',
        ),
        (
            'sub-01/anat/sub-01_run-2_echo-1_T1w.nii.gz',
            'defacemask',
            'sub-01/anat/sub-01_run-2_echo-1_desc-refaced_mask.nii.gz',
        ),
        ('sub-01/anat/sub-01_T1w.nii.gz', 'brainmask', 'sub-01/anat/sub-01_desc-brain_mask.nii.gz'),
        (
            'sub-01/anat/sub-01_foo-1_T1w.nii.gz',
            'brainmask',
            'sub-01/anat/sub-01_foo-1_desc-brain_mask.nii.gz',
        ),
    ],
)
def test_output_path(source, kind, expected):
    assert str(output_path(source, kind)) == expected


@pytest.mark.parametrize('kind', output_kinds())
def test_no_output_has_the_name_of_a_raw_file(kind):
    for extension in ('.nii.gz', '.json'):
        assert '_desc-' in str(output_path('sub-01/anat/sub-01_T1w.nii.gz', kind, extension))


def test_sidecar_has_the_name_of_its_image():
    source = 'sub-01/anat/sub-01_run-1_T1w.nii.gz'
    image = str(output_path(source, 'defacemask'))
    assert str(output_path(source, 'defacemask', '.json')) == image.replace('.nii.gz', '.json')


def test_split_name():
    assert split_name('sub-01/anat/sub-01_ses-a_T1w.nii.gz') == ({'sub': '01', 'ses': 'a'}, 'T1w', '.nii.gz')


@pytest.mark.parametrize('name', ['sub-01_oops_T1w.nii.gz', 'sub-01_run-1_run-2_T1w.nii', 'sub-_T1w.nii'])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match='not a BIDS file name'):
        split_name(name)
