"""The command ``cpmae-bids-file``: one NIfTI in, one out, without BIDS."""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from cpmae_bids.cli.arguments import Parser, add_option, path
from cpmae_bids.cli.interrupt import Interruption
from cpmae_bids.cli.outcome import exit_code_of, say
from cpmae_bids.cli.streams import forgiving_streams
from cpmae_bids.exceptions import EXIT_OK, UsageError

PROG = 'cpmae-bids-file'
_DESCRIPTION = """\
De-identify one T1w scan: a different, generated head around its bit-identical brain.

OUT is written only if the result passes quality control. Exit codes: 0 passed, 1 failed, 64 wrong usage,
130 interrupted."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``cpmae-bids-file``."""
    parser = Parser(PROG, _DESCRIPTION)
    parser.add_argument('input', type=path, metavar='IN', help='T1w scan, .nii or .nii.gz; never written to')
    parser.add_argument('output', type=path, metavar='OUT', help='refaced scan to write, .nii or .nii.gz')
    add_option(parser, 'preset')
    add_option(parser, 'seed', help='seed of the head (default: drawn)')
    for name in ('steps', 'weights', 'device', 'fetch_template'):
        add_option(parser, name)
    add_option(parser, 'overwrite', help='replace OUT if it exists')
    parser.add_argument(
        '--verdict',
        type=path,
        metavar='FILE',
        help='write the quality control result (JSON), pass or fail, in the form that may be shared; all '
        'numbers are in --work-dir',
    )
    add_option(parser, 'work_dir', help='keep intermediate files here; they show the original head')
    return parser


@forgiving_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cpmae-bids-file``; return its exit code."""
    args = build_parser().parse_args(argv)
    return exit_code_of(PROG, lambda: _run(args), 'interrupted; no image was written')


def _run(args: argparse.Namespace) -> int:
    with Interruption():  # SIGTERM, too, removes the temporary folder
        _check_paths(args)
        _deidentify(args)
    return EXIT_OK


def _check_paths(args: argparse.Namespace) -> None:
    from cpmae_bids.cli.folder_checks import check_writable
    from cpmae_bids.cli.preflight import close_to_others
    from cpmae_bids.runtime.content import unreadable

    out: Path = args.output
    if not out.name.endswith(('.nii', '.nii.gz')):
        raise UsageError(f'{out}: OUT must end in .nii or .nii.gz')
    if not out.parent.is_dir():
        raise UsageError(f'{out.parent}: no such folder: make it first')
    if out.resolve() == args.input.resolve():
        raise UsageError(f'{out}: OUT is the input, which is never written to: choose another name')
    if problem := unreadable(args.input):
        raise UsageError(f'{args.input}: {problem}')
    if out.exists() and not args.overwrite:
        raise UsageError(f'{out}: exists: choose another name, or give --overwrite')
    verdict = args.verdict
    is_image = verdict is not None and verdict.is_file() and verdict.name.endswith(('.nii', '.nii.gz'))
    if is_image or (verdict is not None and verdict.resolve() in (out.resolve(), args.input.resolve())):
        raise UsageError(f'{verdict}: --verdict is an image: choose another name')
    for target, name in ((out, 'OUT'), (verdict, '--verdict')):
        if target is not None:
            check_writable(target.parent, name)
            if target.is_dir():
                raise UsageError(f'{target}: {name} is a folder: choose another name')
    if args.work_dir is not None:
        check_writable(args.work_dir, '--work-dir', mode=0o700)
        close_to_others(args.work_dir)


def _deidentify(args: argparse.Namespace) -> None:
    from cpmae_bids.cli.devices import settle_device
    from cpmae_bids.runtime.scratch import sweep
    from cpmae_bids.steps.chain import deidentify

    sweep()

    # Whatever happens from here on, no earlier image or verdict is left to be taken for the result
    for earlier in filter(None, (args.output, args.verdict)):
        earlier.unlink(missing_ok=True)
    deidentify(
        args.input,
        args.output,
        preset=args.preset,
        seed=secrets.randbelow(2**31) if args.seed is None else args.seed,
        steps=args.steps,
        weights=args.weights,
        device=settle_device(args.device),
        work_dir=args.work_dir,
        fetch_template=args.fetch_template,
        verdict_file=args.verdict,
        progress=lambda step: say(PROG, step),
    )


if __name__ == '__main__':
    sys.exit(main())
