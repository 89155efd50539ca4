"""Acquisition parameters travel; whatever may name a person, place or time does not."""

import json

import nibabel as nb
import pytest

from cpmae_bids.bids.header import header_leaks
from cpmae_bids.bids.metadata import allowed_fields, output_sidecar, shareable_metadata
from cpmae_bids.bids.private_text import is_private_text
from cpmae_bids.bids.sidecars import read_sidecars
from cpmae_bids.exceptions import InputError

SCAN = 'sub-01/ses-a/anat/sub-01_ses-a_acq-hi_T1w.nii.gz'


def test_inheritance(make_bids):
    root = make_bids(
        [SCAN],
        {
            'T1w.json': {'EchoTime': 1, 'Manufacturer': 'root'},
            'acq-lo_T1w.json': {'EchoTime': 99},
            'T2w.json': {'EchoTime': 98},
            'inplaneT1w.json': {'EchoTime': 97},
            'sub-01/sub-01_T1w.json': {'EchoTime': 2, 'FlipAngle': 8},
            'sub-01/ses-a/anat/sub-01_T1w.json': {'EchoTime': 3},
            'sub-01/ses-a/anat/sub-01_ses-a_acq-hi_T1w.json': {'EchoTime': 4},
            'sub-02/sub-02_T1w.json': {'EchoTime': 96},
        },
    )
    assert read_sidecars(root, SCAN) == {'EchoTime': 4, 'Manufacturer': 'root', 'FlipAngle': 8}


def test_no_sidecar(make_bids):
    assert read_sidecars(make_bids([SCAN]), SCAN) == {}


@pytest.mark.parametrize('text', ['{', '[1]', '"x"'])
def test_broken_sidecar_is_named(make_bids, text):
    root = make_bids([SCAN])
    (root / 'T1w.json').write_text(text)
    with pytest.raises(InputError, match=r'T1w\.json: the sidecar'):
        read_sidecars(root, SCAN)


def test_identifying_fields_stay_behind():
    private = {
        'PatientName': 'Doe^Jane',
        'PatientBirthDate': '1970-01-01',
        'AcquisitionTime': '10:11:12.5',
        'AcquisitionDateTime': '2020-02-03T10:11:12',
        'DeviceSerialNumber': '12345',
        'StationName': 'MR1',
        'InstitutionName': 'City Hospital',
        'InstitutionAddress': 'Main Street 1',
        'SeriesDescription': 'T1 Jane',
        'ProtocolName': 'T1 Jane',
        'SeriesInstanceUID': '1.2.840.1',
        'SAR': 0.1,
        'ShimSetting': [1, 2, 3],
        'ImageOrientationPatientDICOM': [1, 0, 0, 0, 1, 0],
        'AnatomicalLandmarkCoordinates': {'NAS': [1, 2, 3]},
        'PulseSequenceDetails': 'as installed for Dr. Smith',
        'DeidentificationMethod': ['by Jane at City Hospital'],
        'FieldOfTheFuture': 1,
    }
    kept = {
        'EchoTime': 0.00298,
        'Manufacturer': 'Siemens',
        'ManufacturersModelName': 'Prisma_fit',
        'SoftwareVersions': 'syngo MR E11',
        'FlipAngle': 9,
        'MTState': False,
        'RepetitionTimePreparation': [2.3, 2.3],
    }
    assert shareable_metadata(private | kept) == kept


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('EchoTime', '1970-01-01'),
        ('EchoTime', True),
        ('EchoTime', float('nan')),
        ('EchoTime', {'Jane': 1}),
        ('EchoTime', [1, 'Jane']),
        ('EchoTime', []),
        ('EchoTime', None),
        ('MTState', 'Jane'),
        ('Manufacturer', 'jane@example.org'),
        ('Manufacturer', 'Doe^Jane'),
        ('Manufacturer', 'installed 20200304'),
        ('Manufacturer', 'installed 04.03.2020'),
        ('Manufacturer', 'x' * 65),
        ('Manufacturer', [['nested']]),
        # dates and names in pieces
        *(('SoftwareVersions', text) for text in ('57a04b12', '19 570 412', '1234 5678 9012', '0412 1957x')),
        ('SoftwareVersions', ['12', '04', '57']),
        ('SoftwareVersions', ['syngo MR E11', {'PatientName': 'Jane'}]),
        *(('SequenceName', text) for text in ('J1o2h3n4', 'Jo1Do2', 'JD1', '\u0661\u0669\u0665\u0667')),
        ('ReceiveCoilName', 'An1 Le2'),
        *(('EchoTime', number) for number in (19570412, 1957.0412, 123456789.0, [4, 12, 1957])),
        *((field, 12041957) for field in ('PixelBandwidth', 'AcquisitionDuration', 'BaseResolution')),
    ],
)
def test_allowed_fields_carry_nothing_else(field, value):
    assert field in allowed_fields()
    assert shareable_metadata({field: value}) == {}


@pytest.mark.parametrize(
    ('field', 'values'),
    [
        (
            'SoftwareVersions',
            [
                'syngo MR E11',
                'syngo MR 2004A 4VA25A',
                '5.1.7\\5.1.7.2',
                '27\\LX\\MR Software release:DV26.0_R02',
            ],
        ),
        ('ReceiveCoilName', ['Head_32', 'HeadNeck_64', '32Ch Head', 'RM:32NovaHead', '8HRBRAIN', 'BC']),
        ('SequenceName', ['*tfl3d1_16ns', 'EFGRE3D', '*spcir_192ns', 'T1TFE', 'epfid2d1_64']),
        ('ManufacturersModelName', ['TrioTim', 'Discovery MR750', 'Investigational_Device_7T', 'Ingenia CX']),
        ('Manufacturer', ['SIEMENS', 'GE MEDICAL SYSTEMS', 'Philips Medical Systems', 'CANON_MEC']),
        ('ScanOptions', ['IR\\PFP', 'FAST_GEMS\\EDR_GEMS', ['IR', 'WE']]),
        ('ReceiveCoilActiveElements', ['HEA;HEP', 'HC1-7;NC1,2']),
        ('SequenceVariant', [['SK', 'SP', 'MP'], 'SK\\SP\\MP']),
        ('PhaseEncodingDirection', ['j-']),
    ],
)
def test_what_scanners_write_travels(field, values):
    for value in values:
        assert shareable_metadata({field: value}) == {field: value}


@pytest.mark.parametrize('field', [field for field, kind in allowed_fields().items() if 'words' in kind])
def test_free_text_travels_in_no_field(field):
    free = [
        'Jane Doe',
        'JD',
        'scan of Jane',
        '870503',
        '87 05 03',
        'born 1987',
        '1987',
        'J870503',
        '=1+1',
        'Müller',
    ]
    words = allowed_fields()[field]['words'].split()
    free += [f'{words[0]} {text}' for text in free]
    assert [text for text in free if shareable_metadata({field: text})] == []
    assert [text for text in free if shareable_metadata({field: [words[0], text]})] == []


def test_no_number_is_known_more_exactly_than_a_scanner_knows_it():
    told = shareable_metadata(
        {'AcquisitionDuration': 312.0412571, 'EffectiveEchoSpacing': 0.000505000252500126}
    )
    assert told == {'AcquisitionDuration': 312.041, 'EffectiveEchoSpacing': 0.000505}


def test_a_frequency_is_that_of_the_field_and_not_of_the_head_in_it():
    told = shareable_metadata({'ImagingFrequency': 123.252234, 'MagneticFieldStrength': 2.89362})
    assert told == {'ImagingFrequency': 123, 'MagneticFieldStrength': 2.89}
    assert shareable_metadata({'ImagingFrequency': [63.68123, 63.7]}) == {'ImagingFrequency': [64, 64]}


@pytest.mark.parametrize(
    ('text', 'private'),
    [
        ('870503', True),
        ('050387', True),
        ('scan of 870503', True),
        ('87-05-03', True),
        ('=HYPERLINK("a")', True),
        ('+SUM(A1)', True),
        ('@cmd', True),
        ('879903', False),
        ('0.870503', False),
        ('8705031', False),
        ('12041957', True),
        ('123456789', True),
        ('\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669', True),
        ('1554076800.5', True),
        ('kg/m^2', False),
        ('+', False),
        ('-3', False),
    ],
)
def test_short_dates_and_formulas_are_private(text, private):
    assert is_private_text(text) is private


RECORD = {
    'reference': SCAN,
    'status': 'pass',
    'preset': '128',
    'steps': 4,
    'seed': 5,
    'model_hash': 'abc',
    'measures': {'seam': 1.0},
    'head_statistics': {'Air': {'Level': [-36.0]}},
}


def test_refaced_sidecar():
    sidecar = output_sidecar('refaced', SCAN, {'EchoTime': 0.003, 'PatientName': 'Doe^Jane'}, RECORD)
    assert sidecar['SkullStripped'] is False
    assert sidecar['Sources'] == [f'bids:raw:{SCAN}']
    assert sidecar['EchoTime'] == 0.003
    assert sidecar['CPMAE']['Seed'] == 5
    assert sidecar['HeadStatistics'] == RECORD['head_statistics']
    assert sidecar['DeidentificationMethodCodeSequence'][0]['CodeValue'] == '113102'
    assert 'Jane' not in json.dumps(sidecar)


def test_the_sidecar_says_whose_brain_gave_the_head():
    reference = 'sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz'
    sidecar = output_sidecar('refaced', SCAN, {}, {**RECORD, 'reference': reference})
    assert sidecar['Sources'] == [f'bids:raw:{SCAN}', f'bids:raw:{reference}']
    assert sidecar['CPMAE']['Reference'] == f'bids:raw:{reference}'


def test_a_field_of_the_source_never_overrides_ours():
    sidecar = output_sidecar('refaced', SCAN, {'SkullStripped': True, 'Sources': ['/home/jane']}, RECORD)
    assert sidecar['SkullStripped'] is False
    assert 'jane' not in json.dumps(sidecar)


def test_mask_sidecars_have_no_acquisition_parameters():
    for kind in ('defacemask', 'brainmask'):
        assert 'EchoTime' not in output_sidecar(kind, SCAN, {'EchoTime': 1}, RECORD)


def test_clean_header(make_nifti, tmp_path):
    for name in ('a.nii', 'a.nii.gz'):
        assert header_leaks(make_nifti(tmp_path / name)) == []


@pytest.mark.parametrize('field', ['data_type', 'db_name', 'descrip', 'aux_file', 'intent_name'])
def test_header_text_is_found(make_nifti, tmp_path, field):
    path = make_nifti(tmp_path / 'a.nii.gz')
    image = nb.load(path)
    image.header[field] = b'Jane'
    nb.save(image, tmp_path / 'b.nii.gz')
    assert header_leaks(tmp_path / 'b.nii.gz') == [f'text in {field}']


def test_header_extension_and_gzip_fields_are_found(make_nifti, tmp_path):
    image = nb.load(make_nifti(tmp_path / 'a.nii'))
    image.header.extensions.append(nb.nifti1.Nifti1Extension('comment', b'Jane'))
    nb.save(image, tmp_path / 'b.nii')
    assert header_leaks(tmp_path / 'b.nii') == ['a header extension']

    import gzip

    content = (tmp_path / 'a.nii').read_bytes()
    with (
        open(tmp_path / 'c.nii.gz', 'wb') as file,
        gzip.GzipFile('Jane.nii', 'wb', 9, file, mtime=1) as packed,
    ):
        packed.write(content)
    assert header_leaks(tmp_path / 'c.nii.gz') == ['a file name in gzip', 'a time stamp in gzip']
