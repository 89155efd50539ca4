"""Train weights on a BIDS dataset of whole heads."""

import argparse
from pathlib import Path
from typing import Any

from cpmae_bids.cli.outcome import exit_code_of
from cpmae_bids.cli.streams import forgiving_streams
from cpmae_bids.exceptions import EXIT_OK, UsageError


def get_parser() -> argparse.ArgumentParser:
    """The parser of ``cpmae-bids-train``; imports nothing heavy."""
    parser = argparse.ArgumentParser('cpmae-bids-train', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)

    prepare = commands.add_parser('prepare', help='conform a BIDS dataset into one prepared file')
    prepare.add_argument('bids_dir', type=Path, help='BIDS dataset of whole-head T1w, not defaced')
    prepare.add_argument('prepared', type=Path, help='file to write, .safetensors')
    prepare.add_argument('-w', '--work-dir', type=Path, required=True, help='keeps masks and affines')
    prepare.add_argument('--preset', choices=('128', '256'), default='128', help='2 mm or 1 mm voxels')
    prepare.add_argument(
        '--validation', type=float, default=0.08, help='fraction of heads held out (default: 0.08)'
    )
    prepare.add_argument('--max-voxel-mm', type=float, help='leave out scans with coarser voxels')
    prepare.add_argument('--nprocs', type=int, default=1, help='processes')

    head = commands.add_parser('head', help='register all heads and fit the head VQ-VAE')
    brain = commands.add_parser('brain', help='train the brain VQ-VAE')
    mae = commands.add_parser('mae', help='train the masked autoencoder on the codes of both VQ-VAEs')
    finer = commands.add_parser('superresolution', help='train super-resolution from 2 mm to 1 mm')
    for command in (head, brain, mae, finer):
        command.add_argument('prepared', type=Path, help='prepared file')
        command.add_argument(
            'folder', type=Path, help='checkpoints and logs; a second call resumes from there'
        )
        command.add_argument('--weights', type=Path, required=True, help='folder of weights to write to')
        command.add_argument('--licence', default='', help='licence of the weights, for the registry')
    for command in (brain, mae, finer):
        command.add_argument('--config', type=Path, help='TOML file of settings (default: the packaged one)')
        command.add_argument(
            '--time-budget', type=float, metavar='SECONDS', help='stop after this time; a second call resumes'
        )
    for command in (brain, finer):
        command.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    mae.add_argument('--shapes', type=Path, required=True, help='folder of `cpmae-bids-train head`')
    head.add_argument('--nprocs', type=int, default=1, help='processes')
    head.add_argument(
        '--not-exemplars',
        nargs='+',
        default=[],
        metavar='NAME',
        help='scans that shape the frame but lend no tissue, such as second scans of a person',
    )
    return parser


@forgiving_streams()
def main(argv: list[str] | None = None) -> int:
    """Run ``cpmae-bids-train``; returns the exit code."""
    args = get_parser().parse_args(argv)

    def work() -> int:
        _prepare(args) if args.command == 'prepare' else _train(args)
        return EXIT_OK

    return exit_code_of('cpmae-bids-train', work, 'interrupted; call again to go on from the last checkpoint')


def _prepare(args: argparse.Namespace) -> None:
    from cpmae_bids.training.prepare import prepare

    heads = prepare(
        args.bids_dir,
        args.prepared,
        args.work_dir,
        n=int(args.preset),
        validation=args.validation,
        max_voxel_mm=args.max_voxel_mm,
        processes=args.nprocs,
    )
    size = args.prepared.stat().st_size / 2**20
    print(f'{args.prepared}: {len(heads)} heads, {size:.1f} MiB')


def _train(args: argparse.Namespace) -> None:
    """Train the model that a command is named after, and list it in the folder of weights."""
    from cpmae_bids.models.weights import export
    from cpmae_bids.training.settings import read_settings

    if not args.prepared.is_file():
        raise UsageError(f'{args.prepared}: no such file: make it with `cpmae-bids-train prepare`')
    settings = None if args.command == 'head' else read_settings(args.config, args.command)
    train = {'head': _head, 'brain': _brain, 'mae': _mae, 'superresolution': _finer}[args.command]
    facts = {} if settings is None else {'seed': settings.seed}
    command = f'cpmae-bids-train {args.command}'
    export(train(args, settings), args.command, args.weights, licence=args.licence, command=command, **facts)


def _head(args: argparse.Namespace, settings: None):
    from cpmae_bids.training.data import read_prepared
    from cpmae_bids.training.train_head import train_head

    heads = read_prepared(args.prepared)
    return train_head(heads, args.folder, not_exemplars=args.not_exemplars, processes=args.nprocs)


def _brain(args: argparse.Namespace, settings: Any):
    from cpmae_bids.training.data import read_prepared
    from cpmae_bids.training.train_brain import train_brain

    limits = {'device': args.device, 'time_budget': args.time_budget}
    return train_brain(read_prepared(args.prepared), args.folder, settings, **limits)


def _mae(args: argparse.Namespace, settings: Any):
    from cpmae_bids.models.weights import load_model, read_registry
    from cpmae_bids.training.data import read_prepared
    from cpmae_bids.training.train_head import read_shapes
    from cpmae_bids.training.train_mae import build, train_mae

    found = read_registry(args.weights, ('head', 'brain'))
    head, brain = load_model(found, 'head'), load_model(found, 'brain')
    heads = read_prepared(args.prepared)
    mae, corpus = build(head, brain, heads, *read_shapes(args.shapes, heads), settings)
    return train_mae(mae, corpus, args.folder, settings, time_budget=args.time_budget)


def _finer(args: argparse.Namespace, settings: Any):
    from cpmae_bids.training.train_superresolution import train_superresolution

    limits = {'device': args.device, 'time_budget': args.time_budget}
    return train_superresolution(args.prepared, args.folder, settings, **limits)
