"""Training: the prepared file, exact resume, settings, and a decoder that learns."""

import numpy as np
import phantom
import pytest
import torch
from safetensors.torch import save_file

from cpmae_bids.deid.images import nifti
from cpmae_bids.deid.images.intensity import CEILING, from_levels, to_levels
from cpmae_bids.deid.space import geometry
from cpmae_bids.exceptions import UsageError
from cpmae_bids.models.vqvae import VQVAEConfig
from cpmae_bids.training import data, settings
from cpmae_bids.training.loop import Run, cosine
from cpmae_bids.training.prepare import conform_scan, find_heads
from cpmae_bids.training.train_brain import BrainTraining, brain_of, psnr, train_brain
from cpmae_bids.training.train_head import read_shapes

SMALL = VQVAEConfig(latent=8, width=8, decoder_blocks=1, fine=8, grids=(8, 16), dims=(8, 8), codebook=16)


def ball_head(name, radius, split='train'):
    """A brain of one shell within a head, on the template grid at 2 mm."""
    centre = np.indices((128, 128, 144), dtype=np.float32) - np.float32([63.5, 63.5, 79.5]).reshape(
        3, 1, 1, 1
    )
    distance = np.sqrt((centre**2).sum(0))
    brain = distance < radius
    volume = np.where(distance < 50, 0.5, 0) + np.where(distance < radius - 6, 0.5, 0)
    fov = np.ones(distance.shape, bool)
    fov[:, :, :10] = False
    return data.Head(name, split, to_levels(volume), brain, fov)


@pytest.fixture(scope='module')
def heads():
    return [ball_head(f'sub-{k}', 30 + 2 * k, 'validation' if k == 1 else 'train') for k in range(3)]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_prepared_file_keeps_everything(heads, tmp_path):
    path = tmp_path / 'heads.safetensors'
    data.write_prepared(path, heads, {'n': 128})
    for head, read in zip(heads, data.read_prepared(path), strict=True):
        assert (head.name, head.split) == (read.name, read.split)
        for part in ('image', 'brain', 'fov'):
            np.testing.assert_array_equal(getattr(head, part), getattr(read, part))


def test_intensity_steps_are_fine_near_air():
    values = np.linspace(0, CEILING, 1000)
    error = np.abs(from_levels(to_levels(values)) - values)
    assert error[values < 0.1].max() < 0.01
    assert error.max() < 0.05


def test_a_resumed_run_makes_the_same_steps(tmp_path, one_thread):
    def train(folder, *budgets):
        for total in budgets:
            torch.manual_seed(0)
            model = torch.nn.Linear(4, 1)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            run = Run(folder, model, optimizer, seed=3)
            run.resume()
            for step in run.steps(total):
                optimizer.param_groups[0]['lr'] = cosine(step, 20, 0.1)
                x = torch.from_numpy(run.rng().normal(size=(8, 4))).float()
                loss = (model(x) - torch.randn(8, 1)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return model.weight.detach()

    assert torch.equal(train(tmp_path / 'once', 20), train(tmp_path / 'twice', 7, 20))


def test_time_is_up_in_time_and_nothing_is_lost(tmp_path):
    model = torch.nn.Linear(1, 1)
    run = Run(tmp_path, model, torch.optim.SGD(model.parameters(), lr=1.0), seed=0, time_budget=0.0)
    assert list(run.steps(100)) == []
    assert run.checkpoint.exists()


def test_the_decoder_of_brains_learns_and_goes_on_where_it_was(heads, tmp_path, one_thread):
    config = BrainTraining(model=SMALL, steps=12, batch=1, crop=8)
    held_out = brain_of(heads[1])[None]

    def score(model) -> float:
        return psnr(model.decode(model.encode(held_out)), held_out)

    first = score(train_brain(heads, tmp_path / 'a', BrainTraining(model=SMALL, steps=0), device='cpu'))
    last = train_brain(heads, tmp_path / 'a', config, device='cpu')
    assert score(last) > max(first, 12.0)
    again = train_brain(heads, tmp_path / 'a', config, device='cpu')
    assert all(torch.equal(a, b) for a, b in zip(last.parameters(), again.parameters(), strict=True))


def test_a_run_resumes_on_the_device_of_its_model(heads, tmp_path, monkeypatch):
    """Loaded before, the moments of the optimiser would stay behind on the CPU."""
    config = BrainTraining(model=SMALL, steps=0)
    train_brain(heads, tmp_path, config, device='cpu')
    places = []
    monkeypatch.setattr(Run, 'resume', lambda run: places.append(next(run.model.parameters()).device.type))
    monkeypatch.setattr(Run, 'save', lambda run: None)
    train_brain(heads, tmp_path, config, device='meta')
    assert places == ['meta']


def test_files_of_something_else_are_named_with_a_remedy(heads, tmp_path):
    (tmp_path / 'text.safetensors').write_text('no heads')
    save_file({'x': torch.zeros(1)}, tmp_path / 'weights.safetensors')
    for name in ('text', 'weights', 'missing'):
        with pytest.raises(UsageError, match=rf'{name}\.safetensors.*cpmae-bids-train prepare'):
            data.read_prepared(tmp_path / f'{name}.safetensors')
    for content in (b'no shapes', b'PK\3\4', None):
        (tmp_path / 'shapes.npz').write_bytes(content) if content else np.savez(tmp_path / 'shapes.npz', x=1)
        with pytest.raises(UsageError, match=r'shapes\.npz.*cpmae-bids-train head'):
            read_shapes(tmp_path, heads)


def test_a_checkpoint_of_another_model_is_named_with_a_remedy(tmp_path):
    def run(width):
        model = torch.nn.Linear(width, 1)
        return Run(tmp_path, model, torch.optim.Adam(model.parameters()), seed=0)

    run(4).save()
    with pytest.raises(UsageError, match=r'checkpoint\.pt.*remove it'):
        run(5).resume()
    (tmp_path / 'checkpoint.pt').write_bytes(b'damaged')
    with pytest.raises(UsageError, match=r'checkpoint\.pt.*remove it'):
        run(4).resume()


def test_packaged_settings_are_complete():
    assert settings.read_settings(None, 'mae').steps > 0
    assert settings.read_settings(None, 'superresolution').seed == 1
    assert settings.read_settings(None, 'brain').model.codebook < 2**15


def test_an_unknown_setting_is_named(tmp_path):
    path = tmp_path / 'settings.toml'
    path.write_text('[mae]\nsteps = 1\nstepz = 2\n')
    with pytest.raises(UsageError, match='stepz'):
        settings.read_settings(path, 'mae')
    with pytest.raises(UsageError, match='brain'):
        settings.read_settings(path, 'brain')


def test_settings_reach_the_dataclasses(tmp_path):
    path = tmp_path / 'settings.toml'
    path.write_text(
        '[brain]\nsteps = 7\n[brain.model]\ngrids = [8]\ndims = [4]\n[superresolution.model]\nwidth = 4\n'
    )
    brain = settings.read_settings(path, 'brain')
    assert (brain.steps, brain.model.grids) == (7, (8,))
    assert settings.read_settings(path, 'superresolution').model.width == 4


@pytest.mark.parametrize(
    'table', ['\ufeffparticipant_id\tsplit\n{}\ttest\n', 'participant_id,split\n{},test\n']
)
@pytest.mark.parametrize('label', ['sub-01', '01'])
def test_heads_that_are_held_out_are_not_trained_on(make_bids, table, label):
    """However spreadsheets write the table."""
    scans = [f'sub-{k}/anat/sub-{k}_T1w.nii.gz' for k in ('01', '02')]
    root = make_bids(scans, participants=table.format(label))
    assert find_heads(root) == [root / scans[1]]


def test_a_scan_is_brought_to_the_template_grid_and_an_eighth_below_it(tmp_path):
    """With a brain mask and an affine map from an earlier call."""
    values, brain = phantom.head(*(grid := phantom.grid((4, 4, 4))))
    path = phantom.write(tmp_path / 'sub-1_T1w.nii.gz', values, grid[1])
    nifti.write_mask(tmp_path / 'sub-1_T1w_brain.nii.gz', brain, nifti.read(path))
    np.savetxt(tmp_path / 'sub-1_T1w_affine.txt', np.eye(4))
    name, image, mask, seen = conform_scan(path, tmp_path, 64)
    affine = geometry.grid_affine(64)
    affine[2, 3] -= 256 / 8
    expected, expected_brain = phantom.head((64, 64, 72), affine, noise=False)
    assert name == 'sub-1_T1w'
    assert image.shape == mask.shape == seen.shape == (64, 64, 72)
    assert image.dtype == np.uint8
    assert (mask != expected_brain).mean() < 0.005
    assert not image[~seen].any()
    tissue = seen & (expected > 100)
    assert np.corrcoef(from_levels(image)[tissue], expected[tissue])[0, 1] > 0.8
