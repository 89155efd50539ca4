"""Do the attacks on identity fail for every seed, and not only for the one of the benchmark?

    python -m benchmarks.privacy_seeds HEADS OUT WORK [--seeds 2 3 4 5] [--nprocs 2]

OUT is the folder of a run of `benchmarks.run`, whose originals and gallery the attackers know; WORK keeps
what is made here: take a fresh one for other weights. Heads are generated at 2 mm around the brains of the
test split, brought to the grid of the scan, and attacked as the outputs of the benchmark are: by the
recogniser and by the depth of the skin. Writes ``results/privacy_seeds.json``: success by seed, and of all
seeds together.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import chain
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.spatial.distance import cdist

from benchmarks import generate
from benchmarks.measures.geometry import REGIONS
from benchmarks.pairs import GALLERY, work_folder
from benchmarks.recogniser import look, read_views
from benchmarks.scans import command_line, find_t1w, read_split, write_result
from benchmarks.statistics import attack, matched_by_chance, nearer_to_own
from benchmarks.surfaces import N, mean_distances, read_maps, smooth, trace
from cpmae_bids.deid.images import volumes
from cpmae_bids.deid.images.intensity import SKIN
from cpmae_bids.deid.space import geometry
from cpmae_bids.steps.conform import read_affine


def attacked(t1w: Path, out: Path, work: Path, seed: int) -> Path:
    """What the attackers see of the head of a seed; kept in `work`.

    Returns
    -------
    path : Path
        ``.npz``: ``template`` of the recogniser, and the depths of each of `REGIONS`.
    """
    name = t1w.name.split('.')[0]
    folder = work / name
    kept = folder / f'seed-{seed}.npz'
    if kept.exists():
        return kept
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    anatomy = out / 'anatomy' / 'original'
    brain_mask, affine = anatomy / f'{name}_brain.nii.gz', anatomy / f'{name}_affine.txt'
    brain = folder / 'brain_codes.npz'
    if not brain.exists():
        generate.brain_codes(t1w, brain_mask, affine, folder)
    made = folder / f'head_{seed}.npz'
    if not made.exists():
        generate.head_codes(brain, seed, folder)
        generate.head(seed, folder)
    head = volumes.read(made, 'head').astype(np.float32)
    image, matrix = nib.load(t1w), read_affine(affine)
    mask = np.asanyarray(nib.load(brain_mask).dataobj) > 0
    native = geometry.from_template(head, image.affine, matrix, image.shape, order=3)
    native = np.where(mask, 1, native.clip(0)).astype(np.float32)
    in_fov = geometry.field_of_view(image.shape, image.affine, matrix, N)
    cube = smooth(geometry.to_template(native, image.affine, matrix, N))
    depths = {region: trace(cube, in_fov, region, SKIN) for region in REGIONS}
    partial_file = kept.with_suffix('.part.npz')
    np.savez(partial_file, template=look(native, image.affine).template, **depths)
    partial_file.replace(kept)
    return kept


def success(probes: list[dict], own: np.ndarray, known: dict[str, np.ndarray]) -> dict[str, dict]:
    """Success of all attacks on the heads of one seed, or of several.

    Parameters
    ----------
    probes : list of dict
        What `attacked` keeps.
    own : ndarray of int, shape (probes,)
        Column of the own original in `known`.
    known : dict
        ``template`` and the depths of all originals.
    """
    found = {}
    for name in ('template', *REGIONS):
        seen = np.array([probe[name] for probe in probes])
        distances = cdist(seen, known[name]) if name == 'template' else mean_distances(seen, known[name])
        found['recogniser' if name == 'template' else name] = {
            **attack(distances, own),
            'nearer_to_own_p': nearer_to_own(distances, own),
            'matched_by_chance_p': matched_by_chance(distances, own),
        }
    return found


def main(argv: list[str] | None = None) -> None:
    """Attack the heads of all seeds."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('out', type=Path, help='folder of a run of benchmarks.run')
    parser.add_argument('work', type=Path, help='folder that keeps the generated heads')
    parser.add_argument('--seeds', type=int, nargs='+', default=[2, 3, 4, 5])
    parser.add_argument('--nprocs', type=int, default=1)
    args = parser.parse_args(argv)

    from tqdm import tqdm

    paths = find_t1w(args.heads, read_split(args.heads / 'participants.tsv', 'test'))
    with ProcessPoolExecutor(args.nprocs) as pool:
        jobs = [
            pool.submit(attacked, path, args.out, args.work, seed) for seed in args.seeds for path in paths
        ]
        try:
            for job in tqdm(as_completed(jobs), 'heads', len(jobs), mininterval=5):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    folders = {
        folder.name: folder
        for method in ('original', GALLERY)
        for folder in sorted(work_folder(args.out, method, 'any').parent.iterdir())
        if (folder / 'surface.npz').exists() and (folder / 'views.npz').exists()
    }
    column = {name: number for number, name in enumerate(folders)}
    depths = [read_maps(folder) for folder in folders.values()]
    known = {region: np.array([one[region] for one in depths]) for region in REGIONS}
    known['template'] = np.array([read_views(folder).template for folder in folders.values()])
    names = [path.name.split('.')[0] for path in paths]
    own = np.array([column[name] for name in names])
    by_seed = {}
    for seed in args.seeds:
        probes = []
        for name in names:
            with np.load(args.work / name / f'seed-{seed}.npz') as arrays:
                probes.append(dict(arrays))
        by_seed[seed] = probes
    numbers = {
        'scans': len(paths),
        'gallery': len(folders),
        'by_seed': {seed: success(probes, own, known) for seed, probes in by_seed.items()},
        'together': success(list(chain(*by_seed.values())), np.tile(own, len(by_seed)), known),
    }
    print({name: (value['rank1'][0], value['auc'][0]) for name, value in numbers['together'].items()})
    print(write_result('privacy_seeds', numbers))


if __name__ == '__main__':
    main()
