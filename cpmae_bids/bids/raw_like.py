"""Path and withdrawal of a de-identified image in the raw-like dataset, which `sharing.rawlike` writes."""

import contextlib
import os
from pathlib import Path, PurePosixPath

from cpmae_bids.bids.derivatives import GENERATOR, is_output_dataset, read_description
from cpmae_bids.bids.output_folder import OutputFolder, OutsideError
from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS

FOLDER = f'code/{GENERATOR}'  # where the dataset says what was written into it
DATASET = 'dataset'  # name of the unit of what belongs to no subject


def is_raw_like(folder: Path) -> bool:
    """Whether a dataset says that this tool made it, and that it is no derivative."""
    return is_output_dataset(folder) and read_description(folder).get('DatasetType') == 'raw'


def raw_name(source: str) -> str:
    """Return the path of a de-identified image in the dataset: that of its original, compressed."""
    for extension in IMAGE_EXTENSIONS:
        if source.endswith(extension):
            return source.removesuffix(extension) + IMAGE_EXTENSIONS[0]
    return source


def unit_of(path: str) -> str:
    """Return the unit of a file, which has a manifest: ``sub-01``, ``sub-01_ses-a`` or ``dataset``."""
    folders = PurePosixPath(path).parts[:-1]
    if not folders or not folders[0].startswith('sub-'):
        return DATASET
    return '_'.join(folders[: 2 if len(folders) > 1 and folders[1].startswith('ses-') else 1])


def withdraw_image(dataset: Path, source: str) -> None:
    """Remove the image of a scan that has not passed, and its traces; the next run renews the tables.

    Nothing behind a link is removed.
    """
    image = dataset / raw_name(source)
    if not is_raw_like(dataset) or not os.path.lexists(image):
        return
    unit = unit_of(source)
    # A table that names files that are not there would be invalid.
    folder = OutputFolder(dataset)
    with contextlib.suppress(OutsideError):
        folder.remove(dataset / unit.replace('_', '/') / f'{unit}_scans.tsv')
        folder.remove(image)
        folder.remove(image.with_name(f'{image.name.partition(".")[0]}.json'))
