"""The command line of ``cpmae-bids``."""

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cpmae_bids.cli.arguments import OPTIONS, Parser, add_option, file, flag, path
from cpmae_bids.config import GROUPS, RUN, RunConfig
from cpmae_bids.runtime.threads import available_cpus

_DESCRIPTION = """\
De-identify T1w MRI: every subject gets a different, generated head around the bit-identical brain.

The input is never written to. Exit codes: 0 all scans passed, 1 a scan, table, report or raw-like dataset
failed or the group level's privacy audit raised an alarm, as the last lines say, 64 wrong usage, 70 nothing
to do, 130 interrupted."""


class _SelfCheck(argparse.Action):
    """Runs the self-check with the weights and the device that are named before it, and ends."""

    def __call__(self, parser, namespace, values, option_string=None):
        from cpmae_bids.cli.selfcheck import self_check

        parser.exit(self_check(namespace.weights, namespace.device))


def build_parser() -> Parser:
    """Return the parser of ``cpmae-bids``."""
    parser = Parser('cpmae-bids', _DESCRIPTION)
    parser.add_argument('bids_dir', type=path, help='root folder of the BIDS dataset')
    parser.add_argument('output_dir', type=path, help='folder for the derivatives dataset')
    parser.add_argument(
        'analysis_level',
        choices=('participant', 'group'),
        help='participant: de-identify scans; group: summarise all of them and audit their privacy',
    )
    parser.add_argument(
        *flag('--self-check'),
        action=_SelfCheck,
        default=argparse.SUPPRESS,
        nargs=0,
        help='print versions and de-identify a phantom to check the installation, in about a minute; '
        '--weights and --device count if they come before it',
    )
    for title in GROUPS:
        group = parser.add_argument_group(title)
        for name, field in OPTIONS.items():
            if field.metadata['group'] == title:
                # None: settled when all is known
                add_option(group, name, **({'default': None} if name in ('nprocs', 'omp_nthreads') else {}))
        if title == RUN:
            group.add_argument(
                *flag('--config-file'),
                type=file,
                metavar='FILE',
                help='use the options in logs/config.toml of an earlier run; options given here take '
                'precedence',
            )
    return parser


def parse_config(argv: Sequence[str] | None = None) -> RunConfig:
    """Read the command line, by default that of the process.

    Defaults that the pre-flight settles are left open. Raises SystemExit with code 64 if the arguments are
    wrong, and with 0 after ``--help`` and ``--version``.
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
    """Read ``logs/config.toml`` of an earlier run: arguments, weights' hash, and options that it lacks."""
    recorded = tomllib.loads(path.read_text('utf-8'))
    arguments = []
    for name, value in recorded['run'].items():
        option = '--' + name.replace('_', '-')
        if name in RunConfig.__annotations__.keys() - OPTIONS or (name == 'omp_nthreads' and not value):
            continue
        if name == 'write_graph':  # into a folder that is not recorded
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
