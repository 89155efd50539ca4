"""The command line of a BIDS App: both spellings, defaults, and exit code 64 for wrong use."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cpmae_bids import __version__
from cpmae_bids.cli.parser import build_parser, parse_config
from cpmae_bids.runtime.threads import available_cpus

BASE = ['raw', 'out', 'participant']


def test_defaults():
    config = parse_config(BASE)
    assert config.bids_dir == Path.cwd() / 'raw'
    assert config.output_dir == Path.cwd() / 'out'
    assert (config.preset, config.device, config.seed, config.work_dir) == ('256', 'auto', None, None)
    assert config.nprocs == available_cpus()
    assert config.omp_nthreads == 0  # shared when the scans are known
    assert config.participant_label == ()


def test_labels_with_and_without_prefix_are_one():
    config = parse_config(
        [*BASE, '--participant-label', '01', 'sub-01', 'sub-02', '--participant_label', '03']
    )
    assert config.participant_label == ('01', '02', '03')
    assert parse_config([*BASE, '--session_label', 'ses-a', 'a']).session_label == ('a',)


def test_the_reference_is_spelled_as_in_fmriprep():
    option = '--subject-anatomical-reference'
    assert parse_config(BASE).subject_anatomical_reference == 'first'
    for given, taken in (('sessionwise', 'sessionwise'), ('first', 'first'), ('first-lex', 'first')):
        assert parse_config([*BASE, option, given]).subject_anatomical_reference == taken
    excluded = parse_config([*BASE, '--exclude_participant_label', 'sub-1', '2']).exclude_participant_label
    assert excluded == ('1', '2')


def test_every_long_flag_has_both_spellings():
    options = {option for action in build_parser()._actions for option in action.option_strings}
    for option in options:
        if option.startswith('--'):
            assert '--' + option[2:].replace('-', '_') in options
            assert '--' + option[2:].replace('_', '-') in options


def test_flags_of_the_bids_apps_example():
    assert parse_config([*BASE, '--skip_bids_validator']).skip_bids_validation


def test_all_values(tmp_path):
    file = tmp_path / 'a b.json'
    file.write_text('{}')
    flags = (
        '--nprocs 3 --omp_nthreads 2 --mem-gb 1.5 --device cpu --n_gpu_procs 2 -w w --preset 128 --seed 0 '
        '--steps 4 --weights x --private_report_dir p --stop-on-first-crash --overwrite -vv --fetch-template'
    )
    files = ['--bids_filter_file', str(file), '--nipype-plugin-file', str(file)]
    config = parse_config([*BASE, *flags.split(), *files])
    assert (config.nprocs, config.omp_nthreads, config.mem_gb, config.n_gpu_procs) == (3, 2, 1.5, 2)
    assert (config.preset, config.seed, config.steps, config.verbose) == ('128', 0, 4, 2)
    assert config.stop_on_first_crash
    assert config.overwrite
    assert config.fetch_template
    assert config.bids_filter_file == config.nipype_plugin_file == file
    assert config.private_report_dir == Path.cwd() / 'p'


def test_a_link_that_leads_to_itself_is_wrong_use(tmp_path, capsys):
    (tmp_path / 'loop').symlink_to('loop')
    with pytest.raises(SystemExit) as ended:
        parse_config([*BASE, '-w', str(tmp_path / 'loop')])
    assert ended.value.code == 64
    assert 'loop: a link that leads to itself' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['raw', 'out'],
        ['raw', 'out', 'everything'],
        ['', 'out', 'participant'],
        [*BASE, '--seed', '-1'],
        [*BASE, '--seed', 'x'],
        [*BASE, '--seed', str(2**63)],  # PyTorch would raise, after minutes
        [*BASE, '--steps', '0'],
        [*BASE, '--nprocs', '0'],
        [*BASE, '--mem-gb', '0'],
        [*BASE, '--mem-gb', 'nan'],
        [*BASE, '--mem-gb', '8G'],
        [*BASE, '--device', 'tpu'],
        [*BASE, '--preset', '64'],
        [*BASE, '--participant-label', 'sub-'],
        [*BASE, '--participant-label', '../x'],
        [*BASE, '--bids-filter-file', 'does-not-exist.json'],
        [*BASE, '--part', '01'],
        [*BASE, '--no-such-flag'],
    ],
)
def test_wrong_use_is_64(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_config(arguments)
    assert ended.value.code == 64
    said = capsys.readouterr().err
    assert said.startswith('cpmae-bids: ')
    assert said.count('\n') == 1


@pytest.mark.parametrize(
    ('argument', 'advice'),
    [
        ('--participants-label=01', 'did you mean --participant-label?'),
        ('--work_dirs', 'did you mean --work_dir?'),
        ('--frobnicate', 'see cpmae-bids --help'),
    ],
)
def test_an_unknown_option_is_answered_by_what_it_may_mean(argument, advice, capsys):
    with pytest.raises(SystemExit):
        parse_config([*BASE, argument])
    assert capsys.readouterr().err.endswith(f'unrecognized arguments: {argument}; {advice}\n')


def seconds_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_version_and_help_are_quick_and_light():
    for flag, expected in (('--version', f'cpmae-bids {__version__}'), ('--help', 'usage: cpmae-bids')):
        code = (
            'import sys\n'
            'from cpmae_bids.cli.run import main\n'
            'try:\n'
            f'    main([{flag!r}])\n'
            'except SystemExit as ended:\n'
            '    assert ended.code == 0, ended.code\n'
            "heavy = {'torch', 'ants', 'bids', 'nipype', 'matplotlib', 'numpy'} & set(sys.modules)\n"
            'assert not heavy, heavy\n'
        )
        start = seconds_of_children()
        result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(expected)
        assert seconds_of_children() - start < 1
