"""``cpmae-bids-train``: from a BIDS dataset of whole heads to weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cpmae_bids.cli.streams import forgiving_streams
from cpmae_bids.exceptions import CpmaeError, UsageError


def get_parser() -> argparse.ArgumentParser:
    """The parser of ``cpmae-bids-train``; imports nothing heavy."""
    parser = argparse.ArgumentParser('cpmae-bids-train', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)

    prepare = commands.add_parser('prepare', help='conform a BIDS dataset into one prepared file')
    prepare.add_argument('bids_dir', type=Path, help='BIDS dataset of whole-head T1w, not defaced')
    prepare.add_argument('prepared', type=Path, help='file to write, .safetensors')
    prepare.add_argument('-w', '--work-dir', type=Path, required=True, help='masks and affines are kept here')
    prepare.add_argument('--preset', choices=('128', '256'), default='128', help='2 mm or 1 mm voxels')
    prepare.add_argument('--validation', type=float, default=0.08, help='share of heads left out (0.08)')
    prepare.add_argument('--max-voxel-mm', type=float, help='leave out scans with coarser voxels')
    prepare.add_argument(
        '--cubic', action='store_true', help='cubic interpolation: sharp heads, for `detail`'
    )
    prepare.add_argument('--nprocs', type=int, default=1, help='processes')

    vqvae = commands.add_parser('vqvae', help='train the VQ-VAE of brains or of heads')
    vqvae.add_argument('which', choices=('brain', 'head'))
    mae = commands.add_parser('mae', help='train the masked autoencoder on the codes of both VQ-VAEs')
    mae.add_argument(
        '--levels', type=int, nargs='+', help='train these levels only; the others stay as they are'
    )
    detail = commands.add_parser('detail', help='train what adds detail to decoded heads')
    for command in (vqvae, mae, detail):
        command.add_argument('prepared', type=Path, help='prepared file at 2 mm')
        command.add_argument(
            'folder', type=Path, help='checkpoints, logs and previews; a second call resumes'
        )
        command.add_argument('--weights', type=Path, required=True, help='folder of weights to write to')
        command.add_argument(
            '--from-weights',
            type=Path,
            metavar='FOLDER',
            help='start from these weights instead of from nothing',
        )
        command.add_argument('--config', type=Path, help='TOML file of settings; default: the packaged one')
        command.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
        command.add_argument('--time-budget', type=float, metavar='SECONDS', help='stop in time, resumable')
        command.add_argument('--licence', default='', help='licence of the weights, for the registry')
    detail.add_argument('--fine', type=Path, required=True, help='prepared file at 1 mm')
    return parser


@forgiving_streams()
def main(argv: list[str] | None = None) -> int:
    """Run ``cpmae-bids-train``; returns the exit code."""
    args = get_parser().parse_args(argv)
    try:
        {'prepare': _prepare, 'vqvae': _vqvae, 'mae': _mae, 'detail': _detail}[args.command](args)
    except CpmaeError as error:
        print(f'cpmae-bids-train: {error}', file=sys.stderr)
        return error.exit_code
    return 0


def _prepare(args: argparse.Namespace) -> None:
    from cpmae_bids.training.prepare import prepare

    heads = prepare(
        args.bids_dir,
        args.prepared,
        args.work_dir,
        n=int(args.preset),
        validation=args.validation,
        warps=args.preset == '128',
        max_voxel_mm=args.max_voxel_mm,
        order=3 if args.cubic else 1,
        processes=args.nprocs,
    )
    size = args.prepared.stat().st_size / 2**20
    print(f'{args.prepared}: {len(heads)} heads, {size:.1f} MiB')


def _vqvae(args: argparse.Namespace) -> None:
    from cpmae_bids.models.weights import export
    from cpmae_bids.training.settings import read_settings
    from cpmae_bids.training.train_vqvae import train_vqvae

    settings = read_settings(args.config, args.which)
    budget = {'device': args.device, 'time_budget': args.time_budget}
    start = _start(args, args.which)
    model = train_vqvae(_existing(args.prepared), args.folder, settings, start=start, **budget)
    command = f'cpmae-bids-train vqvae {args.which}'
    export(model, args.which, args.weights, licence=args.licence, command=command, seed=settings.seed)


def _mae(args: argparse.Namespace) -> None:
    from cpmae_bids.models.weights import export
    from cpmae_bids.training.settings import read_settings
    from cpmae_bids.training.train_mae import keep_other_levels, run_mae

    settings = read_settings(args.config, 'mae')
    mae = run_mae(
        _existing(args.prepared),
        args.weights,
        args.folder,
        settings,
        device=args.device,
        time_budget=args.time_budget,
        levels=args.levels,
        start=_start(args, 'mae'),
    )
    if args.levels:
        keep_other_levels(mae, args.weights, args.levels)
    export(mae, 'mae', args.weights, licence=args.licence, command='cpmae-bids-train mae', seed=settings.seed)


def _detail(args: argparse.Namespace) -> None:
    from cpmae_bids.models.weights import export, load_model, read_registry
    from cpmae_bids.training.settings import read_settings
    from cpmae_bids.training.train_detail import train_detail

    settings = read_settings(args.config, 'detail')
    found = read_registry(args.weights, ('mae', 'head', 'brain'))
    model = train_detail(
        load_model(found, 'mae'),
        load_model(found, 'head'),
        load_model(found, 'brain'),
        _existing(args.prepared),
        _existing(args.fine),
        args.folder,
        settings,
        device=args.device,
        time_budget=args.time_budget,
        start=_start(args, 'detail'),
    )
    command = 'cpmae-bids-train detail'
    export(model, 'detail', args.weights, licence=args.licence, command=command, seed=settings.seed)


def _start(args: argparse.Namespace, name: str):
    """Model to start from, or None."""
    from cpmae_bids.models.weights import load_model, read_registry

    if args.from_weights is None:
        return None
    return load_model(read_registry(args.from_weights, (name,), 'check --from-weights'), name)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f'{path}: no such file: make it with `cpmae-bids-train prepare`')
    return path


if __name__ == '__main__':
    sys.exit(main())
