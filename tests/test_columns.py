"""Columns of tables: what may identify somebody goes or is made coarser, and all else stays."""

import pytest

from cpmae_bids.bids.columns import column_of_events, column_of_persons, descriptions_of, left_behind
from cpmae_bids.bids.tsv import Table
from cpmae_bids.exceptions import InputError


@pytest.mark.parametrize(
    ('name', 'cells', 'shared'),
    [
        ('age', ['95', '30'], ['89', '30']),
        ('age_at_scan', ['89+', '1987-01-02'], ['89', 'n/a']),
        ('score', ['1.5', 'n/a'], ['1.5', 'n/a']),
        ('score', ['1.5', 'good'], None),
        ('visit', ['20190102', '20190103'], None),
        ('record', ['123456789', '987654321'], None),
        ('surname', ['1', '2'], None),
        ('birth_year', ['1950', '1960'], None),
        ('sex', ['F', 'male', 'O', 'jane@home', '=HYPERLINK("x")'], ['F', 'male', 'O', 'n/a', 'n/a']),
        ('sex', ['Jane', 'F, born 870503'], ['n/a', 'n/a']),
        ('handedness', ['R', 'left', '-33.3', 'Jane', '=1', '870503'], ['R', 'left', '-33.3', *['n/a'] * 3]),
        ('species', ['homo sapiens', 'Jane Doe'], ['homo sapiens', 'n/a']),
        ('group', ['MCI-AD', 'healthy control', '1'], ['MCI-AD', 'healthy control', '1']),
        ('group', ['+SUM(A1)', '@x', 'Jane Doe', 'seen 2020-01-02 by Jane'], ['n/a'] * 4),
        ('AgeAtScan', ['96', '30'], ['89', '30']),
        ('Age (years)', ['96', '30'], ['89', '30']),
        ('ageyears', ['96', '30'], ['89', '30']),
        ('age_months', ['150', '1100'], ['156', '1068']),
        ('age', ['34.71', '0.7534', '1.49', '7', '90', '89+'], ['35', '0.75', '1.5', '7', '89', '89']),
        ('age', ['1970-01-01', '', 'n/a', 'inf', '870503'], ['n/a'] * 5),
        ('code', ['870503', '910212'], None),
        ('code', ['050387', 'n/a'], None),
        ('volume', ['655935', '671988', '794100', '688850'], ['655935', '671988', '794100', '688850']),
        ('sex', ['=1+1', 'M'], ['n/a', 'M']),
        ('group', ['=cmd|x', 'HC'], ['n/a', 'HC']),
        ('age_month_12', ['96', '30'], ['89', '30']),
        ('age_at_d1', ['96', '30'], ['89', '30']),
        ('language', ['96', '30'], ['96', '30']),
        ('ageing_total', ['150', '30'], ['150', '30']),
        ('AgeGroup', ['1', '2'], ['1', '2']),
        ('AgeGroup', ['34.56', '2'], ['35', '2']),
        ('ages', ['34.5', '0.5'], ['35', '0.5']),
        ('age_in_days', ['12623', '180'], ['12775', '182']),
        ('days_old', ['12623', '40000'], ['12775', '32485']),
        ('PatientAge', ['034Y', '006M', 'P34Y'], ['34', '0.5', '34']),
        ('age', ['1957', '-5', '3_4', '\u0663\u0664', '>89'], ['n/a'] * 5),
        ('measured', ['1957', '1960'], None),
        ('measured', ['1957.28', 'n/a'], None),
        ('measured', ['+4976112345', '1'], None),
        ('measured', ['1554076800.5', '1'], None),
        ('measured', ['1_000', '2'], None),
        ('measured', ['\u0661\u0662', '2'], None),
        ('measured', ['12041957', '2'], None),
        *(
            (name, ['7', '8'], None)
            for name in ('born', 'Geburtsjahr', 'fax', 'lat', 'doctor', 'score 4/12/1957')
        ),
        (
            'group',
            ['Smith', 'JohnSmith', 'HC', '5551234', '\u041c\u0418\u041b'],
            ['n/a', 'n/a', 'HC', 'n/a', 'n/a'],
        ),
        ('I found it hard to wind down, as it applied to me over the past week (0 to 3)', ['1'], ['1']),
        ('group', ['Placebo', 'Resilient', 'Resilient'], ['Placebo', 'Resilient', 'Resilient']),
        *((name, ['12345', '12346'], None) for name in ('PatientID', 'SubjectID', 'AccessionNumber', 'YOB')),
        *((name, ['12345', '12346'], None) for name in ('hospital_number', 'record_number', 'site_id')),
        *((name, ['12345', '12346'], None) for name in ('subjid', 'PatNr', 'Fallnummer', 'RID', 'postcode')),
        *((name, ['43588', '43590'], None) for name in ('scan_day', 'days_since_epoch')),
        ('measured', ['737527.5', '725001'], None),
        ('measured', ['2458586', '2458590'], None),
        ('measured', ['737527.5', '99'], None),
        ('measured', ['737527.5', '12', '13'], ['737527.5', '12', '13']),
        ('visit', ['43831', '-999', 'n/a', '9999'], None),  # 2020-01-01 in a spreadsheet
        ('v2', ['15342.5', '31022', '28'], None),  # birthdays, one mistyped
        ('when', ['18262', '18263'], None),  # 2020-01-01 in R
        ('when', ['2019102', '2020001'], None),  # year and day
        ('when', ['201904', '202001'], None),  # year and month
        ('steps', ['201950', '202047', '188301'], ['201950', '202047', '188301']),
        (
            'rowid',
            ['10001', '10002', '10003', '10004', '10005'],
            ['10001', '10002', '10003', '10004', '10005'],
        ),
        ('income', ['42000', '38500', '0'], ['42000', '38500', '0']),
        ('hippocampus', ['3412.5', '4120.25'], ['3412.5', '4120.25']),
        ('etiv', ['1512345', '1398765'], ['1512345', '1398765']),
        ('n', ['1', '2', '12000'], ['1', '2', '12000']),
        ('measured', ['nan', '0'], ['nan', '0']),
        *((name, ['91.2', '30'], ['89', '30']) for name in ('yrs', 'Lebensalter')),
        *(
            (name, ['1', '2'], ['1', '2'])
            for name in ('patient', 'paid', 'rapid', 'recording_length', 'n_hospitalizations', 'city_size')
        ),
    ],
)
def test_columns_about_persons(name, cells, shared):
    assert column_of_persons(name, cells, 'participant_id', {}) == shared


@pytest.mark.parametrize(
    'units', ['', 'years', 'years old', '[years]', 'decimal years', 'yo', 'a', 'years at day of scan']
)
def test_ages_are_capped_whatever_years_are_called(units):
    assert column_of_persons('age', ['96', '30'], 'participant_id', {'Units': units}) == ['89', '30']


@pytest.mark.parametrize(
    ('name', 'levels', 'cells', 'shared'),
    [
        ('age_at_visit', ['YA', 'OA'], ['YA', 'OA', '96'], ['YA', 'OA', '89']),
        (
            'group',
            ['Late onset, treated'],
            ['Late onset, treated', 'Early onset, not'],
            ['Late onset, treated', 'n/a'],
        ),
    ],
)
def test_levels_are_shared(name, levels, cells, shared):
    description = {'Levels': dict.fromkeys(levels, 'x')}
    assert column_of_persons(name, cells, 'participant_id', description) == shared


@pytest.mark.parametrize(
    ('units', 'cells', 'shared'),
    [
        ('months', ['1073', '412', '120', '100', '9.3'], ['1068', '408', '120', '96', '9']),
        ('Weeks', ['4633', '100', '13.2'], ['4628', '100', '13']),
        ('days (corrected)', ['32490', '12543', '100'], ['32485', '12410', '91']),
    ],
)
def test_ages_in_other_units_are_rounded_and_capped_as_well(units, cells, shared):
    assert column_of_persons('age', cells, 'participant_id', {'Units': units}) == shared


@pytest.mark.parametrize('units', ['mm^3', 'steps'])
def test_numbers_with_a_unit_are_no_dates(units):
    cells = ['21345', '19872']
    assert column_of_persons('thalamus', cells, 'participant_id', {'Units': units}) == cells
    for unit in ('', 'n/a', 'days', 'Excel serial date', ['mm']):
        assert column_of_persons('thalamus', cells, 'participant_id', {'Units': unit}) is None


def test_columns_about_events():
    assert column_of_events('trial_type', ['go', 'stop']) == ['go', 'stop']
    assert (
        column_of_events('answer', ['my name is Jane Doe and I live in a house that is quite far from here'])
        is None
    )
    assert column_of_events('HED', ['Sensory-event, ' * 20]) is not None
    assert column_of_events('stim_file', ['a.png']) is None
    assert column_of_events('SessionDate', ['1']) is None
    assert column_of_events('candidate_update', ['1']) == ['1']
    for column in ('comment', 'experimenter', 'seen 2019-04-12'):
        assert column_of_events(column, ['1']) is None
    assert column_of_events('onset', ['1554076800.5']) is None
    assert column_of_events('HED', ['Label/2019-04-12']) is None


def test_descriptions_of_columns_hold_no_date_address_or_further_field():
    told = {
        'Description': 'Score of 2 tests',
        'LongName': 'asked by jane@example.org',
        'Units': 'kg/m^2',
        'TermURL': 'https://example.org/terms/20190412',
        'Levels': {'a': 'low', 'b': {'Description': 'high', 'TermURL': 'https://example.org'}},
        'Rater': 'Jane',
    }
    kept = {field: told[field] for field in ('Description', 'Units', 'TermURL', 'Levels')}
    assert descriptions_of(['score'], {'score': told, 'other': told}) == {'score': kept}
    for levels in ({'a': 'seen 2019-04-12'}, {'a': {'PatientName': 'Jane'}}, ['a', {'PatientName': 'Jane'}]):
        assert descriptions_of(['score'], {'score': {'Levels': levels}}) == {}


def test_levels_of_participants_are_a_key_to_who_is_who():
    told = {'Description': 'Label', 'Levels': {'sub-01': 'Jane Doe'}}
    assert descriptions_of(['participant_id', 'group'], {'participant_id': told, 'group': told}) == {
        'participant_id': {'Description': 'Label'},
        'group': told,
    }


def test_names_of_columns_that_stay_behind_are_told_unless_they_are_private():
    assert left_behind(['notes', 'Doe^Jane', '2019-04-12']) == (
        'columns left out: notes, one whose name is private, one whose name is private'
    )


def test_a_column_that_may_be_dates_is_told_with_what_to_do():
    table = Table(['notes', 'dob', 'visit', 'volume'], [['', '21345', ' 43831', '21345']])
    sidecar = {'volume': {'Units': 'mm3'}}
    assert left_behind(table.columns[:3], table, sidecar) == (
        'columns left out: notes, dob, visit '
        '(visit: may count days; if not, give Units in the JSON file of the table)'
    )


@pytest.mark.parametrize(
    'day',
    [
        *('03-04-2019', '2019_Mar_04_1032', '2019_03_04', '04-Mar-2019', '2019-3-4', '04.03.19', '3/4/19'),
        *('Mar 4, 2019', '4 March 2019', '20190304', '2019-03-04', '04/03/2019', '10:32'),
        *('4. März 2019', '4 août 2019', '4 de enero de 2019', '04 Dez 19'),
    ],
)
def test_days_in_any_form_are_noticed(day):
    assert column_of_events('trial', ['go', day]) is None


@pytest.mark.parametrize(
    'name',
    [
        *(
            'participant',
            'Subject',
            'subject_id',
            'ParticipantID',
            'patient',
            'Patient Name',
            'participant_name',
        ),
        *('initials', 'surname', 'MRN', 'user_name', 'born', 'tester'),
    ],
)
def test_columns_by_which_experiments_note_who_takes_part_stay_behind(name):
    assert column_of_events(name, ['JaneDoe', 'JaneDoe']) is None


@pytest.mark.parametrize(
    'name', ['participant_response', 'subject_choice', 'name', 'stimulus_name', 'stubborn']
)
def test_columns_of_what_somebody_does_are_kept(name):
    assert column_of_events(name, ['a', 'b']) == ['a', 'b']


@pytest.mark.parametrize(
    'path',
    [
        *(
            '/home/jane/exp/log.csv',
            'C:\\Users\\jane\\exp.py',
            'D:/Doe/run1',
            '\\\\clinic\\doe',
            '(/data/doe/a)',
        ),
        *('file:///Users/jane', 'see /mnt/clinic/doe'),
    ],
)
def test_paths_of_a_machine_name_people(path):
    assert column_of_events('log', [path]) is None
    assert descriptions_of(['score'], {'score': {'Description': path, 'TermURL': path}}) == {}


@pytest.mark.parametrize(
    'text',
    [
        *(
            '/ba/ and /pa/',
            'faces/a.png',
            'https://example.org/data/x',
            'Event/data/x',
            'n/a',
            'a:b',
            'and/or',
        ),
        *('5.4.1', 'syngo MR E11', 'left_2_10', 'marker 1', 'stim_03_04_12', 'decoy 7', 't1_mpr_p2', '3/4'),
        *('block1_decision2', 'novel_01_12', '0.35 0.1987', '0 0 1920 1080', '0.5_2000', '2021.1.4'),
        *('Each block has 4 decisions, 10 s apart', '2 separate 4 min runs'),
    ],
)
def test_what_is_no_day_is_kept(text):
    assert column_of_events('trial', [text]) == [text]


@pytest.mark.parametrize('text', ['', '\n\t\n', 'a\tb\n1\t2\t3\n', 'a\ta\n1\t2\n'])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(InputError, match=r't\.tsv'):
        Table.read(text, 't.tsv')


@pytest.mark.parametrize('link', [True, False])
def test_a_table_whose_content_is_elsewhere_says_how_to_get_it(tmp_path, link):
    content = '/annex/objects/SHA256E-s83--4d.tsv'
    path = tmp_path / 'participants.tsv'
    path.symlink_to(content) if link else path.write_text(content)
    with pytest.raises(InputError, match='datalad get'):
        Table.load(path)
