"""Make a BIDS dataset of one subject from the averaged head that pydeface ships: nobody's face, at 1 mm.

Usage: make_dataset.py DATASET
"""

import argparse
import json
import shutil
from importlib.resources import as_file, files
from pathlib import Path

HEAD = 'mean_reg2mean.nii.gz'


def make_dataset(folder):
    """Write the dataset; one that is there already is replaced file by file.

    Parameters
    ----------
    folder : Path
        The dataset's root; made if it does not exist.
    """
    anat = folder / 'sub-average' / 'anat'
    anat.mkdir(parents=True, exist_ok=True)
    with as_file(files('pydeface') / 'data' / HEAD) as head:
        shutil.copyfile(head, anat / 'sub-average_T1w.nii.gz')
    description = {
        'Name': 'Averaged head of pydeface',
        'BIDSVersion': '1.10.0',
        'DatasetType': 'raw',
        'License': 'MIT',
    }
    (folder / 'dataset_description.json').write_text(json.dumps(description, indent=2) + '\n')
    (folder / 'README').write_text('One averaged head, made by the demo of cpmae-bids.\n')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('dataset', type=Path)
    make_dataset(parser.parse_args().dataset)
