"""Is this installation whole? Import what a run needs, check the weights' hashes and the fallback template.

Run while an image is built and by ``apptainer test``, so that a broken image is never shipped.
"""

import importlib
import sys
from importlib.metadata import version

# Import name and distribution; each of them is needed by some step of a run.
NEEDED = {
    'PIL.Image': 'pillow',
    'ants': 'antspyx',
    'bids': 'pybids',
    'bidsschematools': 'bidsschematools',
    'deepbet': 'deepbet',
    'jinja2': 'jinja2',
    'nibabel': 'nibabel',
    'nipype.pipeline.engine': 'nipype',
    'numpy': 'numpy',
    'safetensors.numpy': 'safetensors',
    'scipy.ndimage': 'scipy',
    'torch': 'torch',
}


def main():
    """Print what was found; a missing part ends in an exception and thus in a non-zero exit."""
    for module, distribution in NEEDED.items():
        importlib.import_module(module)
        print(f'{distribution} {version(distribution)}')

    from cpmae_bids.models.weights import resolve_weights
    from cpmae_bids.templates import find_template

    print(f'weights {resolve_weights(None).model_hash}')
    print(f'template {find_template().name}')


if __name__ == '__main__':
    sys.exit(main())
