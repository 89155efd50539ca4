"""The command line of ``cpmae-bids``. Nothing heavy is imported here: ``--help`` answers at once."""

import argparse
import os
import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from cpmae_bids._version import __version__
from cpmae_bids.config import ALSO_SUFFIXES, DEFAULT_STEPS, PRESET_NAMES, SETTLED, RunConfig
from cpmae_bids.exceptions import EXIT_USAGE

_DESCRIPTION = """\
De-identify T1w MRI: every scan gets a different, generated head around its bit-identical brain.

The input is never written to. Exit codes: 0 all scans passed, 1 a scan failed or the group level's privacy
audit raised an alarm, 64 wrong usage, 70 nothing to do, 130 interrupted."""


class _Parser(argparse.ArgumentParser):
    """A parser that ends with the exit code of wrong use, and knows both spellings of a flag."""

    origin = ''
    """Where arguments come from, if not from the command line; to begin messages with."""

    def error(self, message: str) -> NoReturn:
        # the usage would fill the screen, and hide what is wrong
        self.exit(EXIT_USAGE, f'{self.prog}: {self.origin}{message}; {self._advice(message)}\n')

    def _advice(self, message: str) -> str:
        """Options that an unknown one may have meant, or where all of them are listed."""
        for word in message.split():
            known = [option for option in self._option_string_actions if option.startswith('--')]
            near = get_close_matches(word.partition('=')[0], known, 1) if word.startswith('--') else []
            if message.startswith('unrecognized') and near:
                return f'did you mean {near[0]}?'
        return f'see {self.prog} --help'


class _SelfCheck(argparse.Action):
    """Runs the self-check with the weights and the device that are named before it, and ends."""

    def __call__(self, parser, namespace, values, option_string=None):
        from cpmae_bids.cli.selfcheck import self_check

        parser.exit(self_check(namespace.weights, namespace.device))


def _flag(*names: str) -> list[str]:
    """Return flags with dashes, and the same with underscores, as BIDS Apps have both."""
    return [
        spelling for name in names for spelling in dict.fromkeys([name, '--' + name[2:].replace('-', '_')])
    ]


def _path(text: str) -> Path:
    """Make a path absolute without following links: a linked dataset keeps the names that it shows."""
    if not text:
        raise argparse.ArgumentTypeError('an empty path')
    try:
        return Path(os.path.abspath(Path(text).expanduser()))
    except RuntimeError:
        raise argparse.ArgumentTypeError(f'{text}: no such home; give the path in full') from None
    except OSError:
        message = f'{text}: relative to a folder that is gone; change to another, or give the path in full'
        raise argparse.ArgumentTypeError(message) from None


def _file(text: str) -> Path:
    path = _path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f'no such file: {text}')
    return path


def _derivatives(text: str) -> Path:
    """Take a folder of derivatives, with or without the name that fMRIPrep wants before it."""
    name, equals, rest = text.partition('=')
    path = _path(rest if equals and re.fullmatch(r'[\w.-]+', name) else text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f'no such folder: {text}')
    return path


def _label(prefix: str):
    """Return an argument type that takes a label with or without its prefix."""

    def label(text: str) -> str:
        value = text.removeprefix(prefix)
        if not re.fullmatch('[0-9A-Za-z+]+', value):
            raise argparse.ArgumentTypeError(f'not a label: {text!r}')
        return value

    return label


def _at_least(minimum: int):
    """Return an argument type of integers that are not below a minimum."""

    def integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < minimum:
            raise argparse.ArgumentTypeError(f'must be an integer of at least {minimum}, not {text!r}')
        return value

    return integer


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'must be a positive number, not {text!r}')
    return value


def available_cpus() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def build_parser() -> _Parser:
    """Return the parser of ``cpmae-bids``."""
    parser = _Parser(
        prog='cpmae-bids',
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument('bids_dir', type=_path, help='root folder of the BIDS dataset')
    parser.add_argument('output_dir', type=_path, help='folder for the derivatives dataset')
    parser.add_argument(
        'analysis_level',
        choices=('participant', 'group'),
        help='participant: de-identify scans; group: summarise all of them and audit their privacy',
    )
    parser.add_argument('--version', action='version', version=f'cpmae-bids {__version__}')

    parser.add_argument(
        *_flag('--self-check'),
        action=_SelfCheck,
        default=argparse.SUPPRESS,
        nargs=0,
        help='print versions and de-identify a phantom to check the installation, in about a minute; '
        '--weights and --device count if they come before it',
    )

    group = parser.add_argument_group('which scans')
    group.add_argument(
        *_flag('--participant-label'),
        nargs='+',
        action='extend',
        default=[],
        type=_label('sub-'),
        metavar='LABEL',
        help='subjects to process, with or without "sub-" (default: all)',
    )
    group.add_argument(
        *_flag('--session-label'),
        nargs='+',
        action='extend',
        default=[],
        type=_label('ses-'),
        metavar='LABEL',
        help='sessions to process, with or without "ses-" (default: all)',
    )
    group.add_argument(
        *_flag('--exclude-participant-label'),
        nargs='+',
        action='extend',
        default=[],
        type=_label('sub-'),
        metavar='LABEL',
        help='subjects to leave out, with or without "sub-"',
    )
    group.add_argument(
        *_flag('--bids-filter-file'),
        type=_file,
        metavar='FILE',
        help='JSON file with PyBIDS filters, such as {"t1w": {"acquisition": "mprage"}}',
    )
    group.add_argument(
        '-d',
        *_flag('--derivatives'),
        nargs='+',
        action='extend',
        default=[],
        type=_derivatives,
        metavar='[PACKAGE=]PATH',
        help='derivatives with brain masks (desc-brain_mask) to use; scans without one are skull-stripped',
    )
    group.add_argument(
        '--also',
        nargs='+',
        action='extend',
        default=[],
        choices=ALSO_SUFFIXES,
        metavar='SUFFIX',
        help='other 3D contrasts to de-identify, with the head of the T1w scans of their subject: '
        f'{", ".join(ALSO_SUFFIXES)}',
    )
    group.add_argument(
        *_flag('--also-fill'),
        choices=('head', 'air'),
        default='head',
        help='what surrounds the brain in other contrasts: the head or noise (default: %(default)s)',
    )
    group.add_argument(
        *_flag('--skip-bids-validation', '--skip-bids-validator'),
        action='store_true',
        help='process a dataset in which the BIDS validator finds errors',
    )
    group.add_argument(
        '--overwrite',
        action='store_true',
        help='process finished scans again instead of skipping them',
    )

    group = parser.add_argument_group('how heads are generated')
    group.add_argument(
        *_flag('--subject-anatomical-reference'),
        choices=('first', 'sessionwise'),
        type=lambda name: name.removesuffix('-lex'),  # as fMRIPrep spells it
        default='first',
        help='reference scan, around whose brain the head is generated: the first of a subject, or of each '
        'session, if the brain changes between sessions (default: %(default)s)',
    )
    group.add_argument(
        '--preset',
        choices=PRESET_NAMES,
        default='256',
        help='resolution at which detail is generated: 256 (1 mm) or 128 (2 mm, faster); the output keeps '
        'the grid of the scan (default: %(default)s)',
    )
    group.add_argument(
        '--seed',
        type=_at_least(0),
        metavar='N',
        help='seed of the dataset (default: that of earlier runs into this output, else drawn)',
    )
    group.add_argument(
        '--steps',
        type=_at_least(1),
        default=DEFAULT_STEPS,
        metavar='N',
        help='refinement steps of the masked autoencoder (default: %(default)s)',
    )
    group.add_argument(
        '--weights',
        type=_path,
        metavar='DIR',
        help='folder of weights (default: $CPMAE_BIDS_WEIGHTS, else those of the package)',
    )
    group.add_argument(
        *_flag('--fetch-template'),
        action='store_true',
        help='let TemplateFlow download the template; no other option opens a connection',
    )

    group = parser.add_argument_group('a raw dataset to upload')
    group.add_argument(
        '--layout',
        choices=('derivatives', 'bids'),
        default='derivatives',
        help='bids: also write a raw-like dataset, with de-identified images under the raw names and all '
        'else in the input that may be shared (default: %(default)s)',
    )
    group.add_argument(
        *_flag('--raw-like-dir'),
        type=_path,
        metavar='DIR',
        help='folder of the raw-like dataset (default: "bids" in output_dir)',
    )
    group.add_argument(
        *_flag('--scan-dates'),
        choices=('drop', 'shift'),
        default='drop',
        help='acquisition dates in it: drop them, or shift all of a subject by the same number of days, to '
        'before 1925 (default: %(default)s)',
    )

    group = parser.add_argument_group('performance')
    group.add_argument(
        '--device',
        choices=('auto', 'cpu', 'cuda'),
        default='auto',
        help='where the models run (default: %(default)s)',
    )
    group.add_argument(
        *_flag('--nprocs', '--n-procs'),
        type=_at_least(1),
        metavar='N',
        help='processors that the run uses (default: all available)',
    )
    group.add_argument(
        *_flag('--omp-nthreads'),
        type=_at_least(1),
        metavar='N',
        help='threads of each step (default: 1 if scans are processed in parallel, else up to 8)',
    )
    group.add_argument(
        *_flag('--mem-gb'),
        type=_positive,
        metavar='GB',
        help='memory of the whole run (default: 90 %% of what the machine, container or job has)',
    )
    group.add_argument(
        *_flag('--n-gpu-procs'),
        type=_at_least(1),
        default=1,
        metavar='N',
        help='steps that may use the GPU at the same time (default: %(default)s)',
    )
    group.add_argument(
        *_flag('--nipype-plugin-file'),
        type=_file,
        metavar='FILE',
        help='YAML, JSON or TOML file with nipype\'s "plugin" and "plugin_args"',
    )

    group = parser.add_argument_group('other folders, which hold original voxels')
    group.add_argument(
        '-w',
        *_flag('--work-dir'),
        type=_path,
        metavar='DIR',
        help='intermediate files (default: a private temporary folder, removed afterwards)',
    )
    group.add_argument(
        *_flag('--private-report-dir'),
        type=_path,
        metavar='DIR',
        help='folder for before/after reports, which show the original face, and for all QC metrics; outside '
        'input and output',
    )

    group = parser.add_argument_group('the run')
    group.add_argument(
        *_flag('--dry-run'),
        action='store_true',
        help='list what would be processed, skipped and left out, and why; write nothing',
    )
    group.add_argument(
        *_flag('--config-file'),
        type=_file,
        metavar='FILE',
        help='use the options in logs/config.toml of an earlier run; options given here take precedence',
    )
    group.add_argument(
        *_flag('--write-graph'),
        action='store_true',
        help='draw the workflow into --work-dir',
    )

    group = parser.add_argument_group('messages')
    group.add_argument(
        *_flag('--stop-on-first-crash'),
        action='store_true',
        help='stop after the first failure instead of going on with other scans',
    )
    group.add_argument(
        '-v', '--verbose', action='count', default=0, help='more messages; twice for debugging'
    )
    return parser


def parse_config(argv: Sequence[str] | None = None) -> RunConfig:
    """Read the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program; those of the process by default.

    Returns
    -------
    RunConfig
        With all defaults but those that the pre-flight settles.

    Raises
    ------
    SystemExit
        With code 64 if the arguments are wrong, and with 0 after ``--help`` and ``--version``.
    """
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    if path := options['config_file']:
        options |= _recorded_options(path, argv)
    del options['config_file']
    if options['raw_like_dir'] and options['layout'] != 'bids':
        parser.error('--raw-like-dir needs --layout bids')
    if options['write_graph'] and not options['work_dir']:
        parser.error('--write-graph needs --work-dir, where the graph is written')
    if options['dry_run'] and options['analysis_level'] != 'participant':
        parser.error('--dry-run is for the participant level')
    for name, value in options.items():
        if isinstance(value, list):
            options[name] = tuple(dict.fromkeys(value))
    options['nprocs'] = options['nprocs'] or available_cpus()
    options['omp_nthreads'] = options['omp_nthreads'] or 0
    return RunConfig(**options)


def _recorded_options(path: Path, argv: Sequence[str] | None) -> dict[str, Any]:
    """Return the options of an earlier run where the command line does not give them itself."""
    parser = build_parser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    given = vars(parser.parse_args(argv))
    parser.origin = f'{path}: '
    try:
        arguments, model_hash, lost = _read_recorded(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as err:
        parser.error(f'not the config.toml of a run ({err})')
    if missing := [option for option in lost if option.removeprefix('--').replace('-', '_') not in given]:
        parser.error(f'that run had {", ".join(missing)}, and records no paths: give this option again')
    positional = ['bids_dir', 'output_dir', 'participant']
    return vars(parser.parse_args([*positional, *arguments])) | {'model_hash': model_hash} | given


def _read_recorded(path: Path) -> tuple[list[str], str, list[str]]:
    """Read ``logs/config.toml`` of an earlier run.

    Returns
    -------
    arguments : list of str
        The options of that run, as on its command line.
    model_hash : str
        Hash of its weights.
    lost : list of str
        Options that decided what came out, and are not among the arguments.
    """
    recorded = tomllib.loads(path.read_text('utf-8'))
    arguments = []
    for name, value in recorded['run'].items():
        option = '--' + name.replace('_', '-')
        if name in SETTLED or (name == 'omp_nthreads' and not value):
            continue
        if isinstance(value, bool) or name == 'verbose':
            arguments += [option] * value
        else:
            arguments += [f'{option}={item}' for item in (value if isinstance(value, list) else [value])]
    return (
        arguments,
        recorded['run'].get('model_hash', ''),
        recorded.get('not_recorded', {}).get('options', []),
    )
