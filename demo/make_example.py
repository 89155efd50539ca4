"""Make the README's example picture from the report of the demo: a generated head around an averaged brain.

Usage: make_example.py DERIVATIVES PICTURE
"""

import argparse
from pathlib import Path

from PIL import Image

FIGURES = ('sub-average_T1w_face.png', 'sub-average_T1w_slices.png')
WIDTH = 640  # pixels; keeps the file small


def make_example(derivatives, target):
    """Write the two pictures of the report, one above the other.

    Parameters
    ----------
    derivatives : Path
        Output of the demo. Its only subject is an averaged head, so that nobody's brain is shown.
    target : Path
        PNG file to write; grey, 640 pixels wide.
    """
    figures = [Image.open(derivatives / 'figures' / name) for name in FIGURES]
    figures = [figure.resize((WIDTH, round(figure.height * WIDTH / figure.width))) for figure in figures]
    picture = Image.new('L', (WIDTH, sum(figure.height for figure in figures)))
    top = 0
    for figure in figures:
        picture.paste(figure, (0, top))
        top += figure.height
    picture.save(target, optimize=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('derivatives', type=Path)
    parser.add_argument('picture', type=Path)
    options = parser.parse_args()
    make_example(options.derivatives, options.picture)
