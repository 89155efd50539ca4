"""The masked autoencoder and how it draws: repeatable, from the brain and a seed alone, of many donors."""

import numpy as np
import pytest
import small_models
import torch
from scipy import ndimage

from benchmarks.model_timing import MODELS, time_scan
from cpmae_bids.models import sampling
from cpmae_bids.models.exemplars import SITES
from cpmae_bids.models.mae import ShapeStage
from cpmae_bids.models.shape import Shape
from cpmae_bids.models.superresolution import SuperResolution, SuperResolutionConfig
from cpmae_bids.training.train_brain import brain_of
from cpmae_bids.training.train_mae import MAETraining, explained, train_mae

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def models():
    head, _ = small_models.fitted_head()
    mae, _ = small_models.mae()
    return mae, head, small_models.brain()


@pytest.fixture(scope='module')
def brain_codes(models):
    return models[2].encode(brain_of(small_models.heads()[0])[None])


def test_remodelling_is_a_function_of_brain_and_seed_alone(models, brain_codes):
    torch.manual_seed(1)
    first = sampling.remodel(*models, brain_codes, seed=5)
    torch.manual_seed(2)
    again = sampling.remodel(*models, brain_codes, seed=5)
    other = sampling.remodel(*models, brain_codes, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize('steps', [1, 2, 7])
def test_every_number_of_rounds_ends_with_a_head(models, brain_codes, steps):
    shape, donors = sampling.remodel(*models, brain_codes, seed=1, steps=steps)
    assert tuple(shape.shape) == (1, 4, 4, 4)
    assert tuple(donors.shape) == (1, *SITES)
    assert donors.min() >= 0
    assert donors.max() < 2 * models[1].exemplars.count


def test_seams_fit_better_after_the_rounds_than_before(models):
    mae, head, _ = models
    for seed in range(3):
        trace = []
        generator = torch.Generator().manual_seed(seed)
        zero = torch.zeros(64), torch.zeros(mae.config.brain_features)
        sampling.draw_appearance(mae, head, *zero, generator=generator, steps=8, trace=trace)
        assert len(trace) == 9
        assert trace[-1] < 0.7 * trace[0]


@pytest.mark.parametrize('seed', range(3))
def test_no_donor_rules_too_much(models, seed):
    mae, head, _ = models
    generator = torch.Generator().manual_seed(seed)
    zero = torch.zeros(64), torch.zeros(mae.config.brain_features)
    labels = sampling.draw_appearance(mae, head, *zero, generator=generator, steps=8).numpy()
    share = np.bincount(labels).max() / len(labels)
    assert share <= 1.5 * max(sampling.LARGEST_SHARE, 1.25 / small_models.PEOPLE)
    for donor in np.unique(labels):
        volume = np.zeros(int(np.prod(SITES)), bool)
        volume[head.exemplars.live.numpy()[labels == donor]] = True
        pieces, _ = ndimage.label(volume.reshape(SITES))
        for box in ndimage.find_objects(pieces):
            assert max(part.stop - part.start for part in box) * 16 <= 1.25 * sampling.LARGEST_PIECE_MM


def test_the_shape_stage_is_the_gaussian_conditional(monkeypatch):
    torch.manual_seed(0)
    mixing = torch.randn(5, 5)
    stage = ShapeStage(5, 2)
    scores = torch.randn(20000, 5) @ mixing.T
    monkeypatch.setattr('cpmae_bids.models.mae.SHRINKAGE', 0.0)
    stage.fit(scores, torch.randn(20000, 2))
    known = torch.tensor([True, False, True, False, False])
    value = torch.tensor([0.5, 0.0, -1.0, 0.0, 0.0])
    mean, deviation = stage(value, known, torch.zeros(2))
    near = (scores[:, known] - value[known]).abs().amax(1) < 0.15
    assert (scores[near].mean(0) - mean)[~known].abs().max() < 0.25
    assert (scores[near].std(0) / deviation - 1)[~known].abs().max() < 0.2
    assert torch.equal(mean[known], value[known])
    assert (deviation[known] == 0).all()


def test_what_is_out_of_range_or_a_training_face_is_rejected(models):
    plausibility = models[0].plausibility
    assert plausibility.reason(torch.full((64,), 9.0)) == 'implausible'
    head, beyond = small_models.fitted_head()
    own = Shape.values(head.shape.encode(beyond[:1]).flatten()).float()
    plausibility.most_odd.fill_(1.0)
    assert plausibility.reason(own) == 'near a training face'


def test_the_transformer_learns_to_use_what_it_sees(tmp_path):
    mae, corpus = small_models.mae()
    settings = MAETraining(steps=150, batch=4, learning_rate=3e-3, width=64, depth=1)
    rows = (~corpus.validation).nonzero()[:, 0]
    before = explained(mae, corpus, rows)[0]
    trained = train_mae(mae, corpus, tmp_path, settings)
    assert explained(trained, corpus, rows)[0] > before + 0.1


def test_the_benchmark_times_what_the_steps_do(models):
    mae, head, brain = models
    finer = SuperResolution(SuperResolutionConfig(width=6, blocks=1, noise=1))
    named = dict(zip(MODELS, (brain, mae, head, finer), strict=True))
    seconds = time_scan(named, brain_of(small_models.heads()[0])[0].numpy(), seed=1, preset='128')
    parts = [seconds[stage] for stage in ('encode', 'remodel', 'decode')]
    assert min(parts) > 0
    assert seconds['sum'] == pytest.approx(sum(parts))
