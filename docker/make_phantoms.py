"""Make a BIDS dataset of phantoms of 2 mm, one for each subject: nobody's heads, all different.

Usage: make_phantoms.py DATASET NUMBER
"""

import argparse
import json
from pathlib import Path

from cpmae_bids.models.weights import load_model, resolve_weights
from cpmae_bids.phantom import write_phantom


def make_dataset(folder, number):
    """Write the dataset.

    Parameters
    ----------
    folder : Path
        The dataset's root; made if it does not exist.
    number : int
        Of subjects.
    """
    models = [load_model(resolve_weights(None), name) for name in ('head', 'mae')]
    rows = ['participant_id\tage']
    for seed in range(number):
        subject = f'sub-{seed + 1:02d}'
        anat = folder / subject / 'anat'
        anat.mkdir(parents=True, exist_ok=True)
        write_phantom(anat / f'{subject}_T1w.nii.gz', *models, seed)
        rows.append(f'{subject}\t{20 + seed}')
    description = {'Name': 'Phantoms', 'BIDSVersion': '1.10.0', 'DatasetType': 'raw', 'License': 'CC0'}
    (folder / 'dataset_description.json').write_text(json.dumps(description, indent=2) + '\n')
    (folder / 'participants.tsv').write_text('\n'.join(rows) + '\n')
    (folder / 'README').write_text('Synthetic heads, made to test cpmae-bids.\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('dataset', type=Path)
    parser.add_argument('number', type=int)
    arguments = parser.parse_args()
    make_dataset(arguments.dataset, arguments.number)
