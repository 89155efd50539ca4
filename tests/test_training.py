"""Training: the prepared file, augmentation, exact resume, and learning what can be learnt."""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from cpmae_bids.exceptions import UsageError  # noqa: E402
from cpmae_bids.models.shape import Shape  # noqa: E402
from cpmae_bids.models.vqvae import VQVAE, VQVAEConfig  # noqa: E402
from cpmae_bids.models.warps import deform  # noqa: E402
from cpmae_bids.training import align, data, preview, settings  # noqa: E402
from cpmae_bids.training.augment import HOLE, Augmenter, mean_volume  # noqa: E402
from cpmae_bids.training.loop import Run, cosine  # noqa: E402
from cpmae_bids.training.tokens import corpus, find_shapes  # noqa: E402
from cpmae_bids.training.train_mae import (  # noqa: E402
    Conditions,
    MAETraining,
    live_tokens,
    train_mae,
    validate,
)
from cpmae_bids.training.train_vqvae import VQVAETraining, train_vqvae  # noqa: E402
from cpmae_bids.training.train_vqvae import validate as evaluate_vqvae  # noqa: E402

SMALL = VQVAEConfig(
    latent=8, width=8, encoder_blocks=0, decoder_blocks=1, fine=8, grids=(8, 16), dims=(8, 8), codebook=16
)


def ball_head(name, radius, split='train', warp=True):
    """A head of one shell around a brain, in the cube at 2 mm."""
    centre = np.indices((128, 128, 128), dtype=np.float32) - 63.5
    distance = np.sqrt((centre**2).sum(0))
    volume = np.where(distance < radius, 0.8, 0) + np.where(distance < 25, 0.2, 0)
    field = np.zeros((3, 32, 32, 32), np.int8) if warp else None
    fov = np.ones(distance.shape, bool)
    fov[:, :, :10] = False
    return data.Head(name, split, data.encode_intensity(volume), distance < 25, fov, field)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    path = tmp_path_factory.mktemp('prepared') / 'heads.safetensors'
    heads = [ball_head(f'sub-{k}', 30 + 2 * k, 'validation' if k == 1 else 'train') for k in range(4)]
    data.write_prepared(path, heads, {'n': 128})
    return path


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_prepared_file_keeps_everything(prepared):
    heads, original = data.read_prepared(prepared), ball_head('sub-2', 34)
    assert [head.split for head in heads] == ['train', 'validation', 'train', 'train']
    for field in ('image', 'brain', 'fov', 'warp'):
        assert np.array_equal(getattr(heads[2], field), getattr(original, field))


def test_intensity_steps_are_fine_near_air():
    values = np.linspace(0, data.CEILING, 1000, dtype=np.float32)
    error = np.abs(data.decode_intensity(data.encode_intensity(values)) - values)
    assert error.max() < 0.05
    assert error[values < 0.1].max() < 0.01


def test_the_brain_is_a_hole_in_the_head_and_unseen_voxels_do_not_count(prepared):
    heads = data.read_prepared(prepared)
    example = Augmenter(heads, mean_volume(heads)).plain(0)
    brain = torch.from_numpy(heads[0].brain)[None]
    assert (example.head[brain] == HOLE).all()
    assert (example.brain[~brain] == 0).all()
    assert (example.weight[:, :, :, :10] == 0).all()
    assert (example.weight[brain] == 0).all()


def test_the_same_random_numbers_draw_the_same_head(prepared):
    heads = data.read_prepared(prepared)
    augmenter = Augmenter(heads, mean_volume(heads))
    first, again, other = (augmenter.draw(np.random.default_rng(seed)).head for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_crop_is_that_part_of_the_whole(prepared):
    heads = data.read_prepared(prepared)
    augmenter = Augmenter(heads, mean_volume(heads))
    part = (slice(32, 96), slice(64, 128), slice(0, 64))
    whole = augmenter.draw(np.random.default_rng(3)).brain[(slice(None), *part)]
    crop = augmenter.draw(np.random.default_rng(3), part).brain
    assert ((whole > 0) == (crop > 0)).float().mean() > 0.999


@pytest.fixture(scope='module')
def shape(prepared, tmp_path_factory):
    """Shape model of balls of three sizes, and the displacement of each."""
    heads, model = data.read_prepared(prepared), Shape(1)
    displacements = align.fit_shape(model, heads, tmp_path_factory.mktemp('shape') / 'shapes.safetensors')
    return heads, model, displacements


def test_shape_is_taken_out_of_heads(shape):
    heads, model, displacements = shape

    def spread(members):
        volumes = np.stack([data.decode_intensity(head.image) for head in members if head.split == 'train'])
        return volumes.std(0).mean()

    aligned = align.align_all(heads, displacements, model)
    assert spread(aligned) < 0.5 * spread(heads)
    radii = [30 + 2 * k for k, head in enumerate(heads) if head.split == 'train']
    scores = [
        float(model.encode(d[None])) for d, h in zip(displacements, heads, strict=True) if h.split == 'train'
    ]
    assert abs(np.corrcoef(radii, scores)[0, 1]) > 0.95  # size is the one way in which these heads differ


def test_the_shape_of_a_code_is_put_back(shape):
    heads, model, displacements = shape
    head, field = heads[3], displacements[3:4]
    aligned = align.align(head, model.decode(model.encode(field))[0])
    volume = torch.from_numpy(data.decode_intensity(aligned.image))[None, None]
    again = deform(volume, model.decode(model.encode(field)))[0, 0].numpy()
    original = np.where(head.brain, np.float32(HOLE), data.decode_intensity(head.image))
    assert np.abs(again - original)[:, :, 16:].mean() < 0.01


def test_what_a_scan_did_not_see_has_no_shape(shape, tmp_path):
    """Neither that of other heads, whose mean lies elsewhere."""
    _, model, _ = shape
    template = np.kron(model.template[0, 0].numpy(), np.ones((2, 2, 2), np.float32))
    seen = np.ones(template.shape, bool)
    seen[:, 64:] = False
    image = data.encode_intensity(np.where(seen, template, 0))
    half = data.Head('half', 'train', image, np.zeros_like(seen), seen, None)
    vqvae = VQVAE(dataclasses.replace(SMALL, shape=1)).eval()
    vqvae.shape.load_state_dict(model.state_dict())
    heads = [half, ball_head('large', 45), ball_head('larger', 50)]
    found = find_shapes(vqvae, heads, tmp_path / 'displacements.safetensors')
    assert found[0].abs().max() < 1
    assert found[1].abs().max() > 5


def test_a_resumed_run_makes_the_same_steps(tmp_path, one_thread):
    def train(folder, *budgets):
        for total in budgets:
            torch.manual_seed(0)
            model = torch.nn.Linear(4, 1)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            run = Run(folder, model, optimizer, seed=3)
            run.resume()
            for step in run.steps(total):
                optimizer.param_groups[0]['lr'] = cosine(step, 20, peak=0.1, warmup=5)
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


def test_vqvae_learns_to_reconstruct(prepared, tmp_path, one_thread):
    config = VQVAETraining(which='head', model=SMALL, steps=12, code_steps=4, batch=1, crop=8, seed=0)
    train_vqvae(prepared, tmp_path, config, device='cpu')
    log = [json.loads(line) for line in (tmp_path / 'log.jsonl').read_text().splitlines()]
    scores = [entry['validation']['psnr'] for entry in log if 'validation' in entry]
    heads = data.read_prepared(prepared)
    example = Augmenter(heads[1:2], mean_volume(heads)).plain(0)
    untrained = evaluate_vqvae(VQVAE(SMALL).eval(), [example], 'head', torch.device('cpu'))
    assert scores[0] > untrained['psnr'] + 3  # PCA and k-means alone
    assert scores[-1] > scores[0] - 0.5
    assert len(log[-1]['validation']['codes_used']) == 2
    assert (tmp_path / 'preview.png').stat().st_size > 1000


@pytest.fixture(scope='module')
def tokens():
    """Codes in which the second level repeats the first, which itself follows the brain."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 16, 64)
    codes = {}
    for name in ('head', 'brain'):
        for level, g in enumerate((8, 16)):
            volume = np.zeros((64, g, g, g), np.int16)
            volume[:, : g // 2, : g // 2, : g // 2] = kind[:, None, None, None]
            codes[f'{name}{level}'] = torch.from_numpy(volume)
    return codes


def test_constant_sites_need_no_token(tokens):
    live, resting = live_tokens(tokens['head0'], 8)
    assert len(live) == 4**3
    assert resting.shape == (512, 1)
    live, resting = live_tokens(tokens['head1'], 16)
    assert len(live) == 4**3
    assert resting.shape == (512, 8)


def test_mae_learns_from_the_brain_and_from_context(tokens, tmp_path, one_thread):
    torch.manual_seed(0)
    vqvae = VQVAE(SMALL).eval()
    config = MAETraining(
        steps=200, turns=(1, 1), batches=(4, 4), widths=(64, 64), depths=(1, 1), learning_rate=3e-3, seed=0
    )
    held_out = {key: value[:8] for key, value in tokens.items()}
    mae = train_mae(tokens, tokens, held_out, vqvae, vqvae, tmp_path, config, device='cpu')
    log = [json.loads(line) for line in (tmp_path / 'log.jsonl').read_text().splitlines()]
    for level in log[-1]['validation'].values():
        assert level['unigram'] > 2  # nats; 16 codes, all equally frequent
        assert level['1'] < 0.7 * level['unigram']
        assert level['0.1'] < 0.7 * level['unigram']
    again = validate(mae, Conditions(held_out, vqvae, vqvae), tokens)
    assert {str(level): losses for level, losses in again.items()} == log[-1]['validation']


def test_levels_drawn_together_take_no_steps_and_follow_the_heads(tokens, tmp_path):
    torch.manual_seed(0)
    vqvae = VQVAE(SMALL).eval()
    config = MAETraining(
        steps=2, together=1, turns=(0, 1), batches=(0, 4), widths=(64, 64), depths=(1, 1), components=4
    )
    mae = train_mae(tokens, tokens, tokens, vqvae, vqvae, tmp_path, config, device='cpu')
    assert [type(stage).__name__ for stage in mae.stages] == ['Mixture', 'Stage']
    assert set(validate(mae, Conditions(tokens, vqvae, vqvae), tokens)) == {1}
    latents = vqvae.latent_of([tokens['head0'].long()])
    drawn = mae.stages[0].draw(500, torch.Generator().manual_seed(0))
    assert float(drawn.var(0).sum() / latents.var(0).sum()) == pytest.approx(1, abs=0.15)
    # a second call goes on from there
    again = train_mae(tokens, tokens, tokens, vqvae, vqvae, tmp_path, config, device='cpu')
    assert torch.equal(again.stages[0].components, mae.stages[0].components)


def test_codes_of_a_corpus_fit_the_models(shape, tmp_path):
    heads, fitted, _ = shape
    brain, head = VQVAE(SMALL).eval(), VQVAE(dataclasses.replace(SMALL, shape=1)).eval()
    head.shape.load_state_dict(fitted.state_dict())
    displacements = find_shapes(head, heads, tmp_path / 'shapes.safetensors')
    assert torch.equal(displacements, find_shapes(head, heads, tmp_path / 'shapes.safetensors'))
    found = corpus(heads, displacements, head, 'train')
    codes = found.encode_plain(head, brain, mirrored=True)
    assert [tuple(codes[f'head{k}'].shape) for k in range(3)] == [(6, 1, 1, 1), (6, 8, 8, 8), (6, 16, 16, 16)]
    assert codes['brain1'].shape == (6, 16, 16, 16)
    # the pipeline's own way to the same codes
    direct = head.encode(found.heads.plain(0).head[None])
    assert abs(int(direct[0]) - int(codes['head0'][0])) <= 1
    first, again = (found.encode(0, True, head, brain, np.random.default_rng(1)) for _ in range(2))
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_packaged_settings_are_complete():
    head = settings.read_settings(None, 'head')
    mae = settings.read_settings(None, 'mae')
    assert head.which == 'head'
    assert len(mae.widths) == len(head.model.grids)
    assert settings.read_settings(None, 'brain').model.codebook < 2**15


def test_an_unknown_setting_is_named(tmp_path):
    path = tmp_path / 'settings.toml'
    path.write_text('[mae]\nsteps = 1\nstepz = 2\n')
    with pytest.raises(UsageError, match='stepz'):
        settings.read_settings(path, 'mae')
    with pytest.raises(UsageError, match='head'):
        settings.read_settings(path, 'head')


def test_settings_reach_the_dataclasses(tmp_path):
    path = tmp_path / 'settings.toml'
    path.write_text('[head]\nsteps = 7\n[head.model]\ngrids = [8]\ndims = [4]\n')
    head = settings.read_settings(path, 'head')
    assert (head.steps, head.model.grids) == (7, (8,))
    assert dataclasses.replace(head, model=VQVAEConfig()).model.grids == VQVAEConfig().grids


def test_a_picture_is_read_as_it_was_written(tmp_path):
    image = pytest.importorskip('PIL.Image')
    volume = np.zeros((16, 16, 16), np.float32)
    volume[8, 12, 15] = 1.4  # in the middle, at the front, at the top
    preview.write_preview(tmp_path / 'a.png', [volume, volume])
    pixels = np.asarray(image.open(tmp_path / 'a.png'))
    assert pixels.shape == (32, 48)
    assert pixels[0, 12] == 255  # sagittal: front to the right, top up
    assert pixels[0, 16 + 8] == 255  # coronal
