"""The self-check: one line for each check, and an exit code that says whether all passed."""

import nibabel as nib
import numpy as np
import pytest

from cpmae_bids.cli.parser import build_parser
from cpmae_bids.cli.selfcheck import LIBRARIES, self_check


def test_without_weights_it_fails_and_says_where(tmp_path, capsys):
    assert self_check(weights=tmp_path, device='cpu') == 1
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:-1])
    assert all(library in lines['libraries'] for library in LIBRARIES)
    assert lines['weights'].startswith('FAILED')
    assert str(tmp_path) in lines['weights']
    assert lines['phantom'].startswith('FAILED')
    assert not any(
        text.startswith('FAILED') for name, text in lines.items() if name not in ('weights', 'phantom')
    )


def test_the_command_takes_no_dataset_and_minds_the_weights_before_it(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(['--weights', str(tmp_path), '--device', 'cpu', '--self-check'])
    assert ended.value.code == 1
    assert str(tmp_path) in capsys.readouterr().out


def test_the_phantom_is_a_whole_head_and_repeatable(tmp_path):
    from cpmae_bids.models.weights import load_model, resolve_weights
    from cpmae_bids.phantom import VOXELS, WHITE_MATTER, write_phantom

    models = [load_model(resolve_weights(), name) for name in ('head', 'mae')]
    paths = [tmp_path / name for name in ('a.nii', 'b.nii', 'c.nii')]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        write_phantom(path, *models, seed)
    first, again, other = (np.asanyarray(nib.load(path).dataobj) for path in paths)
    assert first.shape == (VOXELS,) * 3
    assert first.dtype == np.int16
    assert np.array_equal(first, again)
    assert np.mean(np.abs(first - other.astype(float)) > 0.1 * WHITE_MATTER) > 0.02
    assert 0.1 < np.mean(first > 0.3 * WHITE_MATTER) < 0.5  # a head in air


@pytest.mark.slow
def test_all_checks_pass_here(capsys):
    assert self_check(device='cpu') == 0
    printed = capsys.readouterr().out
    assert 'verdict pass' in printed
    assert 'all checks passed' in printed
