"""Every T1w scan is found once, with its sidecar, whatever the dataset looks like."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.publish import record_failure
from cpmae_bids.bids.scan import scan_seed
from cpmae_bids.bids.selection import read_filters, select_subjects
from cpmae_bids.bids.validation import count_errors
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError, NothingToDoError, UsageError
from cpmae_bids.sharing.inventory import list_files


def settings(root, **changes):
    return RunConfig(**{'bids_dir': root, 'output_dir': root.parent / 'out', 'seed': 1, **changes})


def paths(scans):
    return [scan.relative_path for scan in scans]


def test_every_session_and_run(make_bids):
    scans = [
        'sub-01/ses-a/anat/sub-01_ses-a_run-01_T1w.nii.gz',
        'sub-01/ses-a/anat/sub-01_ses-a_run-02_T1w.nii.gz',
        'sub-01/ses-b/anat/sub-01_ses-b_acq-hi_T1w.nii',
        'sub-02/anat/sub-02_T1w.nii.gz',
    ]
    others = ['sub-02/anat/sub-02_T2w.nii.gz', 'sub-02/func/sub-02_task-rest_bold.nii.gz']
    found = collect_scans(settings(make_bids(scans + others)))
    assert paths(found) == scans
    assert [(scan.subject, scan.session) for scan in found] == [
        ('01', 'a'),
        ('01', 'a'),
        ('01', 'b'),
        ('02', None),
    ]
    assert found[0].entities == {'sub': '01', 'ses': 'a', 'run': '01'}
    assert found[0].name == 'sub-01_ses-a_run-01_T1w'
    assert not any(scan.problem for scan in found)


def test_folders_that_are_no_raw_data_are_left_out(make_bids):
    scans = ['sub-01/anat/sub-01_T1w.nii.gz']
    hidden = [
        'derivatives/x/sub-01/anat/sub-01_T1w.nii.gz',
        'sourcedata/sub-01/anat/sub-01_acq-raw_T1w.nii.gz',
        '.git/annex/sub-01/anat/sub-01_acq-git_T1w.nii.gz',
        'sub-01/anat/sub-01_desc-preproc_T1w.nii.gz',
        'sub-01/anat/sub-01_part-phase_T1w.nii.gz',
    ]
    assert paths(collect_scans(settings(make_bids(scans + hidden)))) == scans


def test_labels_select(make_bids):
    root = make_bids(
        [
            'sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz',
            'sub-1/ses-b/anat/sub-1_ses-b_T1w.nii.gz',
            'sub-10/ses-b/anat/sub-10_ses-b_T1w.nii.gz',
        ]
    )
    assert paths(collect_scans(settings(root, participant_label=('1',)))) == [
        'sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz',
        'sub-1/ses-b/anat/sub-1_ses-b_T1w.nii.gz',
    ]
    assert paths(collect_scans(settings(root, session_label=('b',)))) == [
        'sub-1/ses-b/anat/sub-1_ses-b_T1w.nii.gz',
        'sub-10/ses-b/anat/sub-10_ses-b_T1w.nii.gz',
    ]


def test_the_first_scan_of_a_subject_is_the_reference_of_the_others(make_bids, tmp_path):
    first = 'sub-01/ses-a/anat/sub-01_ses-a_acq-lo_T1w.nii.gz'
    others = ['sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.nii.gz', 'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz']
    root = make_bids([first, *others, 'sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz'])

    def references(**changes):
        return {
            scan.relative_path: scan.reference and scan.reference.relative_path
            for scan in collect_scans(settings(root, **changes))
        }

    alone = {'sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz': None}
    assert references() == {first: None, **dict.fromkeys(others, first), **alone}
    # Labels say which part of the work a run does, and change nothing of it ...
    assert references(session_label=('b',)) == {others[1]: first, **alone}
    # ... while a filter says which scans there are: the way out if the first one is of no use.
    (tmp_path / 'filter.json').write_text('{"t1w": {"acquisition": null}}')
    file = {'bids_filter_file': tmp_path / 'filter.json'}
    assert references(**file) == {others[0]: None, others[1]: others[0], **alone}

    (root / first).unlink()
    (root / first).symlink_to('../../.git/annex/missing')
    scan = next(scan for scan in collect_scans(settings(root, session_label=('b',))))
    assert f'around the brain of {first}, which cannot be used (a link to content' in scan.problem


def test_each_session_may_have_a_reference_of_its_own(make_bids):
    """A brain that grew between two sessions does not fit into the head of the first."""
    first, again, later, alone, t2w = (
        'sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.nii.gz',
        'sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w.nii.gz',
        'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz',
        'sub-02/anat/sub-02_T1w.nii.gz',
        'sub-01/ses-b/anat/sub-01_ses-b_T2w.nii.gz',
    )
    root = make_bids([first, again, later, alone, t2w])
    config = settings(root, subject_anatomical_reference='sessionwise', also=('T2w',))
    found = {scan.relative_path: scan for scan in collect_scans(config)}
    references = {path: scan.reference and scan.reference.relative_path for path, scan in found.items()}
    assert references == {first: None, again: first, later: None, alone: None, t2w: later}
    assert found[t2w].t1w == found[later]


def test_uniform_images_of_mp2rage_are_t1w_scans(make_bids, tmp_path, caplog):
    root = make_bids([
        'sub-01/anat/sub-01_T1w.nii.gz',
        'sub-01/anat/sub-01_acq-mp2rage_UNIT1.nii.gz',
        'sub-01/anat/sub-01_inv-1_MP2RAGE.nii.gz',
        'sub-01/anat/sub-01_inv-2_T1w.nii.gz',
        'sub-02/anat/sub-02_UNIT1.nii.gz',
        'sub-02/anat/sub-02_inv-1_part-phase_MP2RAGE.nii.gz',
        'sub-02/anat/sub-02_T2w.nii.gz',
    ])  # fmt: skip

    def found(filters=None, **changes):
        if filters is not None:
            (tmp_path / 'filter.json').write_text(json.dumps({'t1w': filters}))
            changes['bids_filter_file'] = tmp_path / 'filter.json'
        return {scan.name: scan for scan in collect_scans(settings(root, **changes))}

    scans = found(also=('T2w',))
    assert list(scans) == ['sub-01_T1w', 'sub-01_acq-mp2rage_UNIT1', 'sub-02_T2w', 'sub-02_UNIT1']
    assert 'sub-01_inv-2_T1w.nii.gz: one inversion of several, left out' in caplog.text
    # A UNIT1 gets the head of a T1w, whatever comes first by name, and is a reference where it is alone
    assert scans['sub-01_acq-mp2rage_UNIT1'].reference == scans['sub-01_T1w']
    assert scans['sub-02_UNIT1'].reference is None
    assert scans['sub-02_T2w'].t1w == scans['sub-02_T2w'].reference == scans['sub-02_UNIT1']
    assert 'no T1w scan' not in caplog.text

    assert list(found({'suffix': 'T1w'})) == ['sub-01_T1w']
    assert list(found({'suffix': 'UNIT1'})) == ['sub-01_acq-mp2rage_UNIT1', 'sub-02_UNIT1']
    assert list(found({'acquisition': 'mp2rage'})) == ['sub-01_acq-mp2rage_UNIT1']
    with pytest.raises(UsageError, match='only suffix T1w or UNIT1'):
        found({'suffix': ['UNIT1', 'MP2RAGE']})


def test_echoes_of_an_acquisition_have_the_brain_of_the_first(make_bids, make_nifti):
    name = 'sub-01/anat/sub-01_{}T1w.nii.gz'.format
    runs = [name(f'run-{run}_echo-{echo}_') for run in '12' for echo in '123']
    root = make_bids([*runs, name('acq-x_echo-1_'), name('acq-x_echo-2_')])
    make_nifti(root / runs[5], affine=np.diag([8, 8, 9, 1]))
    (root / name('acq-x_echo-1_')).write_bytes(b'no image')
    scans = {scan.relative_path: scan for scan in collect_scans(settings(root))}
    found = {path: scan.first_echo and scan.first_echo.relative_path for path, scan in scans.items()}
    shared = {runs[1]: runs[0], runs[2]: runs[0], runs[4]: runs[3]}
    assert found == dict.fromkeys(scans) | shared
    assert scans[runs[4]].first_echo == scans[runs[3]]
    assert {scan.reference_path for scan in scans.values()} == {name('acq-x_echo-1_')}


def test_numbers_without_leading_zeros_keep_their_order(make_bids):
    names = ['ses-2/anat/sub-01_ses-2_echo-{}_T1w', 'ses-10/anat/sub-01_ses-10_run-{}_T1w']
    root = make_bids([f'sub-01/{name}.nii.gz'.format(n) for name in names for n in (10, 1, 2)])
    scans = collect_scans(settings(root))
    assert paths(scans) == [f'sub-01/{name}.nii.gz'.format(n) for name in names for n in (1, 2, 10)]
    assert [scan.first_echo for scan in scans] == [None, scans[0], scans[0], None, None, None]
    assert {scan.reference_path for scan in scans} == {scans[0].relative_path}


def test_subjects_are_excluded(make_bids):
    root = make_bids([f'sub-{label}/anat/sub-{label}_T1w.nii.gz' for label in '123'])
    assert select_subjects(settings(root, exclude_participant_label=('2',))) == ['1', '3']
    both = {'participant_label': ('1', '2'), 'exclude_participant_label': ('2',)}
    assert [scan.subject for scan in collect_scans(settings(root, **both))] == ['1']
    with pytest.raises(UsageError, match='sub-9; check --exclude-participant-label'):
        select_subjects(settings(root, exclude_participant_label=('9',)))
    with pytest.raises(NothingToDoError, match='excluded'):
        select_subjects(settings(root, exclude_participant_label=('1', '2', '3')))


def test_labels_that_do_not_exist_are_all_named(make_bids):
    root = make_bids(['sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz'])
    with pytest.raises(UsageError, match='sub-02, sub-03') as caught:
        select_subjects(settings(root, participant_label=('02', '01', '03', '02')))
    assert 'sub-01' not in str(caught.value)
    with pytest.raises(UsageError, match='ses-z'):
        select_subjects(settings(root, session_label=('a', 'z')))


def test_nothing_to_do(make_bids, tmp_path):
    root = make_bids(['sub-01/anat/sub-01_T2w.nii.gz'])
    with pytest.raises(NothingToDoError, match='no T1w'):
        collect_scans(settings(root))
    empty = tmp_path / 'empty'
    empty.mkdir()
    with pytest.raises(NothingToDoError, match='no sub-'):
        collect_scans(settings(empty))


def test_subject_without_t1w_is_named(make_bids, caplog):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/anat/sub-02_T2w.nii.gz'])
    with caplog.at_level(logging.WARNING):
        assert len(collect_scans(settings(root))) == 1
    assert 'sub-02: no T1w scan' in caplog.text


def test_scans_in_other_formats_are_named(make_bids, caplog):
    pair = [f'sub-02/ses-a/anat/sub-02_ses-a_T1w.{extension}' for extension in ('hdr', 'img')]
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', *pair])
    for name in ('run-2_T1w.NII.GZ', 'run-3_T1w.mgz', 'T1w.json'):
        (root / f'sub-01/anat/sub-01_{name}').write_text('{}')
    with caplog.at_level(logging.WARNING):
        assert len(collect_scans(settings(root))) == 1
    convert = 'not a single-file NIfTI, left out; convert it to .nii.gz'
    assert dict(message.split(': ', 1) for message in caplog.messages).items() >= {
        ('sub-01/anat/sub-01_run-2_T1w.NII.GZ', 'left out; write its extension in small letters'),
        ('sub-01/anat/sub-01_run-3_T1w.mgz', convert),
        (pair[1], convert),
    }
    assert not any(name in caplog.text for name in ('sub-01_T1w.json', 'sub-01_T1w.nii'))


def test_two_files_of_one_name_cost_no_other_scan_its_result(make_bids):
    twice = ['sub-01/anat/sub-01_T1w.nii', 'sub-01/anat/sub-01_T1w.nii.gz']
    root = make_bids([*twice, 'sub-02/anat/sub-02_T1w.nii.gz'])
    first, other = collect_scans(settings(root))
    says = f'{twice[1]} is the same scan by its name; remove one'
    assert first.problem == says
    assert not other.problem
    (root / twice[0]).write_bytes(b'')  # which another copy would not mend
    assert collect_scans(settings(root))[0].problem == says


def test_names_that_leave_no_room_for_those_of_outputs_are_refused(make_bids):
    """Before any work, and not after all of it; and other scans lose nothing."""
    stem = f'sub-01_acq-{"x" * 180}'
    root = make_bids([f'sub-01/anat/{stem}_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz'])
    assert not any(scan.problem for scan in collect_scans(settings(root)))
    (root / f'sub-01/anat/{stem}_T1w.nii.gz').rename(root / f'sub-01/anat/{stem}{"y" * 40}_T1w.nii.gz')
    first, second = collect_scans(settings(root))
    assert 'bytes too long; shorten its labels' in first.problem
    assert not second.problem
    record_failure(first, settings(root), first.problem)


def test_scans_outside_of_the_folder_of_their_subject_are_left_out(make_bids, caplog):
    """A backup in a folder of its own, a raw-like dataset in an output, a file that was moved by mistake."""
    away = [
        'old/sub-01/anat/sub-01_T1w.nii.gz',
        'bids/sub-02/anat/sub-02_T1w.nii.gz',
        'sub-02/anat/sub-01_run-3_T1w.nii.gz',
        'sub-01/again/anat/sub-01_T1w.nii.gz',
        'sub-01/derivatives/sub-01/anat/sub-01_T1w.nii.gz',
        'sub-01/anat/old/sub-01_run-9_T1w.nii.gz',
    ]
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz', *away])
    assert paths(collect_scans(settings(root))) == [
        'sub-01/anat/sub-01_T1w.nii.gz',
        'sub-02/anat/sub-02_T1w.nii.gz',
    ]
    assert all(f'{path}: not in the folder of its subject' in caplog.text for path in away)


@pytest.mark.parametrize('name', ['sub-01_old_T1w.nii.gz', 'T1w.nii.gz', 'ses-1_T1w.nii.gz'])
def test_names_that_are_none_of_bids_are_left_out(make_bids, caplog, name):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', f'sub-01/anat/{name}'])
    assert paths(collect_scans(settings(root))) == ['sub-01/anat/sub-01_T1w.nii.gz']
    assert name in caplog.text
    assert 'left out' in caplog.text


@pytest.mark.parametrize('folder', ['with blanks', 'h#sh', 'per%20cent', 'brack[et]s (1)'])
def test_odd_folder_names(make_bids, tmp_path, folder):
    root = make_bids(
        ['sub-01/anat/sub-01_T1w.nii.gz'], {'T1w.json': {'EchoTime': 0.003}}, root=tmp_path / folder / 'raw'
    )
    (scan,) = collect_scans(settings(root))
    assert scan.path == root / 'sub-01/anat/sub-01_T1w.nii.gz'
    assert scan.metadata == {'EchoTime': 0.003}


@pytest.mark.parametrize(
    'folder',
    [
        'func/ds',
        'sub-99/anat/ds',
        'derivatives/x',
        'acq-x/ses-y',
        'study_run-2_echo-1/.ds',
        'sub-01_T1w.nii.gz',
    ],
)
def test_folders_around_a_dataset_say_nothing_about_it(make_bids, tmp_path, folder):
    scans = ['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/ses-a/anat/sub-02_ses-a_acq-hi_T1w.nii.gz']
    root = make_bids([*scans, 'sub-01/func/sub-01_task-rest_bold.nii.gz'], root=tmp_path / folder)
    assert paths(collect_scans(settings(root))) == scans
    assert paths(collect_scans(settings(root, participant_label=('02',)))) == scans[1:]
    absent = dict.fromkeys(('session', 'acquisition', 'run', 'echo'))
    (tmp_path / 'filter.json').write_text(json.dumps({'t1w': absent}))
    assert paths(collect_scans(settings(root, bids_filter_file=tmp_path / 'filter.json'))) == scans[:1]
    (tmp_path / 'filter.json').write_text('{"t1w": {"session": "a"}}')
    assert paths(collect_scans(settings(root, bids_filter_file=tmp_path / 'filter.json'))) == scans[1:]


def test_links_that_lead_back_up_have_an_end(make_bids, tmp_path):
    scans = ['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz']
    root = make_bids(scans)
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (elsewhere / 'back').symlink_to(root / 'sub-02')
    for number in range(8):  # each of which doubles what there is to look at
        (root / f'sub-01/anat/up{number}').symlink_to('../..')
        (root / f'sub-02/anat/up{number}').symlink_to(('..', '.', root.parent, elsewhere)[number % 4])
    assert paths(collect_scans(settings(root))) == scans
    listed = [entry.path for entry in list_files(root) if entry.path.endswith('_T1w.nii.gz')]
    assert set(scans) <= set(listed)


def test_a_folder_that_cannot_be_read_is_named_if_it_may_hold_scans(make_bids, monkeypatch):
    scans = [f'sub-{label}/anat/sub-{label}_T1w.nii.gz' for label in ('01', '02')]
    root = make_bids([*scans, 'lost+found/x.nii', 'sub-01/func/sub-01_task-x_bold.nii.gz'])
    closed = [root / 'lost+found', root / 'sub-01/func']
    monkeypatch.setattr('os.access', lambda path, mode: Path(path) not in closed)
    assert paths(collect_scans(settings(root))) == scans
    closed.append(root / 'sub-02/anat')
    with pytest.raises(InputError, match='sub-02/anat: a folder that cannot be read'):
        collect_scans(settings(root))
    assert paths(collect_scans(settings(root, exclude_participant_label=('02',)))) == scans[:1]


def test_rules_of_pybids_in_the_dataset_are_not_read(make_bids):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz'])
    (root / 'sub-01/layout_config.json').write_text('no JSON')
    assert len(collect_scans(settings(root))) == 1


def test_a_subject_that_is_a_link_to_another(make_bids):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'elsewhere/anat/sub-02_T1w.nii.gz'])
    (root / 'sub-02').symlink_to('elsewhere')
    assert paths(collect_scans(settings(root)))[-1] == 'sub-02/anat/sub-02_T1w.nii.gz'


def test_symlinked_dataset_and_content(make_bids, tmp_path):
    """As DataLad stores them: files are links into an annex, and the dataset may be a link itself."""
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz'])
    annex = root / '.git' / 'annex'
    annex.mkdir(parents=True)
    for subject in ('01', '02'):
        image = root / f'sub-{subject}/anat/sub-{subject}_T1w.nii.gz'
        image.rename(annex / f'key{subject}')
        image.symlink_to(f'../../.git/annex/key{subject}')
    (annex / 'key02').unlink()
    link = tmp_path / 'link'
    link.symlink_to(root)

    present, absent = collect_scans(settings(link))
    assert present.relative_path == 'sub-01/anat/sub-01_T1w.nii.gz'
    assert not present.problem
    assert 'datalad get' in absent.problem


@pytest.mark.parametrize(
    ('extension', 'content', 'says'),
    [
        ('nii.gz', 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n', 'git lfs pull'),
        ('nii.gz', '/annex/objects/MD5E-s1--4d7a.nii.gz\n', 'datalad get'),
        ('nii.gz', '', 'empty'),
        ('json', '{"EchoTime": ', 'sub-01_T1w.json: the sidecar is not valid JSON'),
    ],
)
def test_content_that_is_none_is_a_problem_of_its_scan_alone(make_bids, extension, content, says):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz'])
    (root / f'sub-01/anat/sub-01_T1w.{extension}').write_text(content)
    bad, good = collect_scans(settings(root))
    assert says in bad.problem
    assert not good.problem


def test_content_that_was_not_fetched_is_no_fault_of_the_dataset(make_bids):
    """One subject of a DataLad dataset may be enough; the others are links and pointers."""
    images = [f'sub-{subject}/anat/sub-{subject}_T1w.nii.gz' for subject in ('01', '02', '03')]
    root = make_bids(images)
    (root / images[1]).unlink()
    (root / images[1]).symlink_to('../../.git/annex/objects/MD5E-s1--4d7a.nii.gz')
    (root / images[2]).write_text('/annex/objects/MD5E-s1--4d7a.nii.gz\n')
    assert count_errors(root, 'not validated') == 0
    (root / images[0]).write_text('no image')
    assert count_errors(root, 'not validated') == 1


@pytest.mark.parametrize('maker', [None, {'Name': 'fMRIPrep'}])
def test_a_derivative_dataset_of_an_unreadable_maker_is_named(make_bids, maker):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz'], DatasetType='derivative', GeneratedBy=maker)
    with pytest.raises(InputError, match=r'dataset_description.json: GeneratedBy is no list'):
        collect_scans(settings(root))


def test_seed_follows_subject_and_dataset_seed_only(make_bids):
    root = make_bids(
        [
            'sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz',
            'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz',
            'sub-02/anat/sub-02_T1w.nii.gz',
        ]
    )
    first, second, other = (scan.seed for scan in collect_scans(settings(root)))
    assert first == second != other
    assert first == scan_seed(1, '01') != scan_seed(2, '01')
    assert all(0 <= scan_seed(seed, 'x') < 2**31 for seed in range(100))
    noise = {scan.noise_seed for scan in collect_scans(settings(root))}
    assert len(noise) == 3  # or it would not average out over the sessions of a subject
    assert noise == {scan.noise_seed for scan in collect_scans(settings(root))}


def test_filter_file(make_bids, tmp_path):
    root = make_bids(
        [
            'sub-01/anat/sub-01_T1w.nii.gz',
            'sub-01/anat/sub-01_acq-hi_T1w.nii.gz',
            'sub-01/anat/sub-01_acq-lo_T1w.nii',
        ]
    )
    file = tmp_path / 'filters.json'

    def found(terms):
        file.write_text(json.dumps({'t1w': terms, 'bold': {'task': 'rest'}}))
        return [scan.entities.get('acq') for scan in collect_scans(settings(root, bids_filter_file=file))]

    assert found({'acquisition': 'hi'}) == ['hi']
    assert found({'acquisition': None}) == [None]
    assert found({'acquisition': '*'}) == ['hi', 'lo']
    assert found({'acquisition': 'Query.NONE'}) == [None]
    assert found({'acquisition': 'Query.ANY'}) == ['hi', 'lo']
    assert found({'acquisition': [None, 'hi']}) == [None, 'hi']
    assert found({'acquisition': ['hi', 'lo'], 'suffix': 'T1w'}) == ['hi', 'lo']
    assert found({'extension': '.nii'}) == ['lo']
    for key in ('colour', 'return_type'):
        with pytest.raises(UsageError, match=key):
            found({key: 'subject'})


@pytest.mark.parametrize(
    'text',
    [
        *('not json', '[]', '{"t1w": 1}', '{"t1w": {"suffix": "T2w"}}', '{"t1w": {"extension": ".mgz"}}'),
        *('{"t1w": {"subject": {"a": 1}}}', '{"t1w": {"run": [[1]]}}'),
    ],
)
def test_bad_filter_file(tmp_path, text):
    file = tmp_path / 'filters.json'
    file.write_text(text)
    with pytest.raises(UsageError, match=r'filters\.json'):
        read_filters(file)


def test_real_dataset(test_heads, tmp_path):
    images = [path for path in test_heads.glob('sub-*/**/*.nii.gz') if path.parent.name == 'anat']
    for also, suffixes in ((), {'T1w'}), (('T2w', 'FLAIR', 'PDw'), {'T1w', 'T2w', 'FLAIR', 'PDw'}):
        scans = collect_scans(RunConfig(test_heads, tmp_path / 'out', seed=1, also=also))
        expected = [path for path in images if path.name.split('.')[0].rpartition('_')[2] in suffixes]
        assert [scan.path for scan in scans] == sorted(expected)
        assert not any(scan.problem for scan in scans)
