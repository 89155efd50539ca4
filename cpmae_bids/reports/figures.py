"""The pictures of a published scan in the output. They show the generated head only.

`cpmae_bids.bids.publish.withdraw_scan` removes them with the images.
"""

from pathlib import Path

from cpmae_bids.bids.output_folder import OutputFolder


def figure_path(output_dir: Path, name: str, figure: str) -> Path:
    """Path of a figure, ``face`` or ``slices``, of the scan with that name."""
    return Path(output_dir) / 'figures' / f'{name}_{figure}.png'


def publish_figures(output_dir: Path, name: str, drawn: dict[str, Path]) -> list[Path]:
    """Copy the pictures of a scan (PNG by name of the figure) into the output, each whole or not at all."""
    folder = OutputFolder(output_dir)
    targets = {figure_path(output_dir, name, figure): source for figure, source in drawn.items()}
    for target in targets:  # all that are there show another head
        folder.remove(target)
        folder.remove_temporaries(target)
    for target, source in targets.items():
        folder.write(target, source.read_bytes())
    return list(targets)
