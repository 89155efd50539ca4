"""The command ``cpmae-bids-audit``: does any image of a folder still show a face?"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpmae_bids._version import __version__
from cpmae_bids.cli.arguments import Parser, add_option, path
from cpmae_bids.cli.outcome import exit_code_of, say
from cpmae_bids.cli.streams import forgiving_streams
from cpmae_bids.cli.summary import count
from cpmae_bids.exceptions import EXIT_FAILED, EXIT_OK, NothingToDoError, UsageError
from cpmae_bids.runtime.text import one_line
from cpmae_bids.runtime.threads import available_cpus

if TYPE_CHECKING:
    from cpmae_bids.sharing.faces.search import Finding, Listing
    from cpmae_bids.sharing.privacy.attacks import Privacy

PROG = 'cpmae-bids-audit'

_DESCRIPTION = """\
Check a folder before you share it: list every image that shows a face or cannot be judged.

A face is accepted only in an output of cpmae-bids that is unchanged since it passed quality control. The
folder is never written to. Exit codes: 0 no face, 1 a face or a file that could not be judged or compared,
64 wrong usage, 70 nothing to check."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``cpmae-bids-audit``."""
    parser = Parser(PROG, _DESCRIPTION)
    parser.add_argument('folder', type=path, metavar='DIR', help='dataset, or any other folder with images')
    parser.add_argument(
        '--originals',
        type=path,
        metavar='DIR',
        help='input dataset of the outputs in DIR: also match outputs with their originals',
    )
    parser.add_argument('--json', type=path, metavar='FILE', help='write the result for every image')
    processes = 'processes at a time (default: all available processors)'
    add_option(parser, 'nprocs', default=available_cpus(), help=processes)
    parser.add_argument('-v', '--verbose', action='store_true', help='list images without a face as well')
    return parser


@forgiving_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cpmae-bids-audit``; return its exit code."""
    args = build_parser().parse_args(argv)
    return exit_code_of(PROG, lambda: _run(args), 'interrupted; not all images have been examined')


def _run(args: argparse.Namespace) -> int:
    from cpmae_bids.bids.output_folder import OutputFolder
    from cpmae_bids.cli.folder_checks import check_writable
    from cpmae_bids.runtime.pool import workers
    from cpmae_bids.sharing.faces import recogniser
    from cpmae_bids.sharing.faces.search import list_images

    for folder in filter(None, (args.folder, args.originals)):
        if not os.path.isdir(folder) or not os.access(folder, os.R_OK | os.X_OK):
            raise UsageError(f'{folder}: no such folder, or it cannot be read')
        if args.json is not None and args.json.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f'{args.json}: --json lies in {folder}, which is never written to: choose another'
            )
    if args.json is not None:
        check_writable(args.json.parent, '--json')
        OutputFolder(args.json.parent).remove(args.json)  # an earlier one would be taken for the result
    listing = list_images(args.folder)
    if not listing.images and not listing.foreign:
        for line in _skipped(listing):
            say(PROG, line)
        raise NothingToDoError(f'{args.folder}: no image to check; give the folder of a dataset')
    recognise = recogniser.is_installed()
    if not recognise:
        say(PROG, f'geometry alone; for the face detector as well: pip install {recogniser.EXTRA}')
    with workers(args.nprocs) as each:
        findings = _look(args.folder, listing, recognise, each, args.verbose)
        privacy = _match(args, recognise, each) if args.originals else None
    _summarise(findings, listing, privacy)
    if args.json:
        _write(args.json, findings, listing, privacy, recognise)
    matched = privacy is not None and (privacy.alarms() or privacy.unread)
    return EXIT_FAILED if matched or not all(finding.is_ok for finding in findings) else EXIT_OK


def _look(folder: Path, listing: 'Listing', recognise: bool, each, verbose: bool) -> 'list[Finding]':
    """Judge all images, and name each that is not in order as soon as it is judged."""
    from cpmae_bids.sharing.faces.search import judge_all, stacks

    findings: list[Finding] = []
    for finding in judge_all(folder, listing, recognise, each):
        findings.append(finding)
        if verbose or not finding.is_ok:
            print(one_line(finding.line()), flush=True)
    together = stacks(findings)
    for finding in together:
        print(one_line(finding.line()), flush=True)
    return findings + together


def _match(args: argparse.Namespace, recognise: bool, each) -> 'Privacy':
    """Attack the outputs in a folder with their originals."""
    from cpmae_bids.bids.completeness import verified_records
    from cpmae_bids.bids.derivatives import is_output_dataset
    from cpmae_bids.sharing.privacy.attacks import audit, find_pairs

    if not is_output_dataset(args.folder):
        raise UsageError(f'{args.folder}: is not an output of cpmae-bids, as --originals needs it')
    pairs = find_pairs(args.folder, args.originals, verified_records(args.folder))
    if not pairs:
        raise UsageError(f'{args.originals}: holds no original of the outputs that passed; give their input')
    return audit(pairs, recognise, each)


def _summarise(findings: 'list[Finding]', listing: 'Listing', privacy: 'Privacy | None') -> None:
    from cpmae_bids.sharing.privacy.attacks import describe_attacks

    counts = Counter(finding.finding for finding in findings)
    words = {
        'face': 'with a face',
        'changed': 'not as they passed',
        'unread': 'not judged',
        'passed': 'as they passed their verdict',
        'clear': 'without a face',
    }
    said = [f'{counts[key]} {text}' for key, text in words.items() if counts[key]]
    say(PROG, f'{count(len(findings), "image")}: {", ".join(said)}')
    for line in _skipped(listing):
        say(PROG, line)
    if privacy is not None:
        for line in describe_attacks(privacy):
            say(PROG, line)


def _skipped(listing: 'Listing') -> list[str]:
    """Say in a line what was not examined, if anything."""
    skipped = [f'{count} {what}' if what != '.git' else what for what, count in (+listing.skipped).items()]
    return [f'not examined: {", ".join(skipped)}'] if skipped else []


def _write(
    target: Path, findings: 'list[Finding]', listing: 'Listing', privacy: 'Privacy | None', recognise: bool
):
    """Write the report: paths relative to the folder, and numbers."""
    from cpmae_bids.bids.atomic import write_text
    from cpmae_bids.bids.jsontext import to_json

    report: dict[str, Any] = {
        'version': __version__,
        'detectors': ['geometry', 'detector'] if recognise else ['geometry'],
        'images': [asdict(finding) for finding in findings],
        'not_looked_at': dict(+listing.skipped),
    }
    if privacy is not None:
        report['privacy'] = privacy.numbers()
    write_text(target, to_json(report))


if __name__ == '__main__':
    sys.exit(main())
