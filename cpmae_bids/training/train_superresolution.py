"""Training of super-resolution, from heads at 1 mm and what is left of them in heads put together at 2 mm."""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from cpmae_bids.deid.images import masks
from cpmae_bids.deid.images.intensity import TISSUE, from_levels, to_levels
from cpmae_bids.models.shuffle import pixel_unshuffle
from cpmae_bids.models.superresolution import (
    CEILING,
    SuperResolution,
    SuperResolutionConfig,
    inner,
    upsample_cubic,
)
from cpmae_bids.training.data import Head, read_prepared
from cpmae_bids.training.loop import Run, pick_device

MARGIN = 4  # voxels of 1 mm at the faces of a crop that do not count: the network saw too little around them
SURROUND = 16  # voxels of 1 mm around a crop that are interpolated with it: it is turned and scaled
GAIN = 2.0  # by which spectrally normalised layers are made stronger: without, logits hardly leave 0


@dataclass(frozen=True)
class SuperResolutionTraining:
    """Settings of `train_superresolution`."""

    model: SuperResolutionConfig = field(default_factory=SuperResolutionConfig)
    steps: int = 1600  # optimiser steps
    alone: int = 1000  # steps before the discriminator takes part
    batch: int = 2  # crops of a step
    crop: int = 20  # edge of a crop in voxels of 2 mm, even
    learning_rate: float = 1e-3  # peak of the schedule (Adam)
    lead: float = 2.0  # how much faster the discriminator learns (Heusel et al., NeurIPS 2017)
    # weight of the difference of local structure tensors, beside that of the difference voxel by voxel
    structure: float = 1.0
    adversarial: float = 0.01  # weight of the discriminator
    average: float = 0.99  # decay of the moving average of the weights, which is what is kept
    critic: int = 32  # channels of the discriminator
    seed: int = 1


@dataclass(frozen=True)
class Example:
    """A head at 1 mm, `SURROUND` voxels of air around it."""

    volume: np.ndarray  # float16, shape (n, n, n): air is 0
    # bool, shape (n, n, n): within the field of view, outside of the brain, in the head or close to its skin
    counts: np.ndarray
    brain: np.ndarray  # bool, shape (n, n, n)
    centres: np.ndarray  # int16, shape (k, 3): tissue that counts


class Discriminator(nn.Module):
    """Distinguishes super-resolved crops from scans, in overlapping patches; used in training only.

    It works on voxels of 2 mm, is conditioned on the cubic interpolation (Isola et al., CVPR 2017) and
    spectrally normalised (Miyato et al., ICLR 2018).
    """

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                spectral_norm(nn.Conv3d(16, width, 3, padding=1)),
                spectral_norm(nn.Conv3d(width, width, 3, padding=1)),
                spectral_norm(nn.Conv3d(width, 2 * width, 2, stride=2)),
            ]
        )
        self.logits = nn.ModuleList(spectral_norm(nn.Conv3d(w, 1, 1)) for w in (width, 2 * width))

    def forward(self, volume: Tensor, interpolated: Tensor) -> list[Tensor]:
        """Logits of patches of 10 and of 12 mm; both volumes are (B, 1, X, Y, Z) at 1 mm, of even edges."""
        known = [pixel_unshuffle(v, 2) for v in (4 * (volume - interpolated), interpolated)]
        x = torch.cat(known, 1).contiguous(memory_format=torch.channels_last_3d)
        features = []
        for layer in self.layers:
            x = GAIN * F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return [GAIN * logit(f).flatten() for logit, f in zip(self.logits, features[1:], strict=True)]


class Contest(nn.Module):
    """Both networks, and the moving average of the one that is kept: what a checkpoint holds."""

    def __init__(self, model: SuperResolution, critic: int):
        super().__init__()
        self.generator = model
        self.discriminator = Discriminator(critic)
        self.average = copy.deepcopy(model).requires_grad_(False)


def train_superresolution(
    prepared: Path,
    folder: Path,
    config: SuperResolutionTraining,
    *,
    device: str = 'auto',
    time_budget: float | None = None,
) -> SuperResolution:
    """Train super-resolution from 2 mm to 1 mm; return the moving average over the steps, on the CPU.

    `prepared` is a prepared file at 1 mm; `folder` holds checkpoint and log, from which a second call
    resumes; `time_budget` is in seconds.
    """
    torch.manual_seed(config.seed)
    model = SuperResolution(config.model)
    examples = [example_of(head) for head in read_prepared(prepared) if head.split == 'train']
    models = Contest(model.requires_grad_(True), config.critic).to(pick_device(device))
    models = models.to(memory_format=torch.channels_last_3d)
    groups = [
        {'params': list(models.generator.parameters()), 'pace': 1},
        {'params': list(models.discriminator.parameters()), 'pace': config.lead},
    ]
    optimizer = torch.optim.Adam(groups, lr=config.learning_rate, betas=(0.8, 0.99))
    run = Run(folder, models, optimizer, seed=config.seed, time_budget=time_budget)
    run.resume()
    device_of_batch = next(models.parameters()).device
    for step in run.scheduled(config.steps, config.learning_rate):
        parts = (part.to(device_of_batch) for part in _batch(examples, run.rng(), config))
        losses = _step(models, optimizer, *parts, config, contest=step >= config.alone)
        with torch.no_grad():
            pairs = zip(models.average.parameters(), models.generator.parameters(), strict=True)
            for averaged, new in pairs:
                averaged.lerp_(new, 1 - min(config.average, (step + 1) / (step + 10)))
        if step % 20 == 0:
            run.log(step=step, **losses)
    return models.average.cpu()


def example_of(head: Head) -> Example:
    """A head of a prepared file at 1 mm, as it is trained on."""
    volume = from_levels(head.image)
    # without a capsule at the skin, or the cushion of the coil
    inside = masks.head_mask(volume, TISSUE, sigma=2.0)
    volume = np.where(_grown(inside, 3), volume, 0)
    within = ndimage.binary_erosion(head.fov, iterations=3)
    counts = within & _grown(inside, 6) & ~_grown(head.brain, 2)
    centres = np.argwhere(counts & (volume > TISSUE))[::29]
    volume, counts, brain = (np.pad(a, SURROUND) for a in (volume.astype(np.float16), counts, head.brain))
    return Example(volume, counts, brain, centres.astype(np.int16))


def _grown(mask: np.ndarray, steps: int) -> np.ndarray:
    return ndimage.binary_dilation(mask, iterations=steps)


def composed(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Degrade a crop (1 mm, edge n + 2 * SURROUND) to one of a head composed at 2 mm (edge n / 2).

    The low-pass filter of `deid.space.geometry.to_template`, samples on a grid that lies in any way to that
    of the result (an exemplar is deformed), steps of the stored intensities, and one more interpolation.
    """
    smooth = ndimage.gaussian_filter(crop.astype(np.float32), rng.uniform(0.45, 0.8), truncate=3.0)
    edge = (len(crop) - 2 * SURROUND) // 2
    if rng.random() < 0.1:  # an exemplar that was not deformed
        linear, shift = np.eye(3), np.zeros(3)
    else:
        linear, shift = _deformation(rng), rng.uniform(-0.5, 0.5, 3)
    sites = int(np.ceil(edge * 1.25)) + 4
    middle, centre = (sites - 1) / 2 - shift, (len(crop) - 1) / 2
    exemplar = ndimage.affine_transform(
        smooth, 2 * linear, centre - 2 * linear @ middle, output_shape=(sites,) * 3, order=1
    )
    exemplar = from_levels(to_levels(exemplar))
    back, order = np.linalg.inv(linear), 1 if rng.random() < 0.4 else 3
    offset = middle + back @ np.full(3, (SURROUND + 0.5 - centre) / 2)
    halved = ndimage.affine_transform(exemplar, back, offset, output_shape=(edge,) * 3, order=order)
    return np.clip(halved, 0, CEILING)


def _deformation(rng: np.random.Generator) -> np.ndarray:
    """Linear part of a local deformation: a turn by some degrees, scaling and shear by some percent."""
    stretch = np.eye(3) + np.clip(rng.normal(0, 0.04, (3, 3)), -0.08, 0.08)
    return Rotation.from_rotvec(rng.normal(0, 0.1, 3)).as_matrix() @ stretch


def _batch(
    examples: list[Example], rng: np.random.Generator, config: SuperResolutionTraining
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw crops (B, 1, e, e, e), half of them mirrored: at 2 mm, at 1 mm, and where they count."""
    edge = 2 * config.crop
    inputs, targets, valids = [], [], []
    for _ in range(config.batch):
        example = examples[int(rng.integers(len(examples)))]
        centre = example.centres[int(rng.integers(len(example.centres)))].astype(int)
        centre += rng.integers(-edge // 4, edge // 4 + 1, 3)
        last = np.array(example.volume.shape) - edge - 2 * SURROUND
        start = np.clip(centre - edge // 2, 0, last) // 2 * 2
        around = tuple(slice(s, s + edge + 2 * SURROUND) for s in start)
        within = tuple(slice(s + SURROUND, s + SURROUND + edge) for s in start)
        crop, brain = example.volume[around].astype(np.float32), example.brain[around]
        hole = rng.integers(3)  # composites have no brain; what is in its place may be anything
        if hole:
            crop[brain] = 0 if hole == 1 else rng.uniform(0.2, 1)
        gamma, gain = rng.uniform(0.8, 1.25), rng.uniform(0.85, 1.15)
        crop = np.clip(gain * crop**gamma, 0, CEILING)
        target, valid = crop[(slice(SURROUND, -SURROUND),) * 3], example.counts[within]
        flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
        inputs.append(composed(crop, rng)[flip])
        targets.append(target[flip])
        valids.append(valid[flip])
    return tuple(torch.from_numpy(np.stack(part))[:, None] for part in (inputs, targets, valids))


def _step(
    models: Contest,
    optimizer,
    halved: Tensor,
    real: Tensor,
    valid: Tensor,
    config: SuperResolutionTraining,
    *,
    contest: bool,
) -> dict[str, float]:
    """One step of both networks, by gradients at the same weights."""
    generator = models.generator
    # where the scan says nothing both volumes are the same, and nothing distinguishes them
    padded = (F.pad(part, [generator.halo] * 6) for part in (halved, generator.draw(halved)))
    fake = inner(torch.where(valid, generator.refine(*padded), real), MARGIN)
    real, interpolated = inner(real, MARGIN), inner(upsample_cubic(halved), MARGIN)
    optimizer.zero_grad(set_to_none=True)
    losses = {'pixel': (fake - real).abs().mean(), 'structure': structure_difference(fake, real)}
    loss = losses['pixel'] + config.structure * losses['structure']
    if contest:
        judge = _off_lattice(models.discriminator)
        pairs = zip(judge(real, interpolated), judge(fake.detach(), interpolated), strict=True)
        hinge = sum(F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in pairs) / 2
        hinge.backward()
        models.discriminator.requires_grad_(False)
        losses['discriminator'] = hinge
        losses['generator'] = -sum(logits.mean() for logits in judge(fake, interpolated)) / 2
        loss = loss + config.adversarial * losses['generator']
    loss.backward()
    models.discriminator.requires_grad_(True)
    torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
    optimizer.step()
    fine = [_fine(volume) for volume in (interpolated, fake, real)]
    losses['before'], losses['power'] = (power / fine[2] for power in fine[:2])
    return {name: value.item() for name, value in losses.items()}


def _off_lattice(discriminator: Discriminator):
    """Let the discriminator see crops from a random voxel on, so that 2 mm voxels are no texture."""
    begin = torch.randint(2, (3,)).tolist()
    voxels = (..., *(slice(b, b - 2) for b in begin))
    return lambda volume, interpolated: discriminator(volume[voxels], interpolated[voxels])


def structure_difference(first: Tensor, second: Tensor) -> Tensor:
    """Mean difference of local structure tensors, over the local strength of gradients, band by band.

    It asks for gradients as strong and as parallel as in the other volume, not in the same place to a voxel,
    where a difference voxel by voxel is least for a blur. Bands count one by one: otherwise the coarser ones,
    which are stronger, make up for the finest. Both volumes are (B, 1, X, Y, Z) at 1 mm.
    """
    total = first.new_zeros(())
    for ours, theirs in zip(_bands(first), _bands(second), strict=True):
        ours, theirs = structure_tensor(ours), structure_tensor(theirs)
        strength = (ours[:, :3].sum(1) + theirs[:, :3].sum(1)).detach().add(1e-4).sqrt()
        total = total + ((ours - theirs).abs().sum(1) / strength).mean()
    return total


def _bands(volume: Tensor) -> list[Tensor]:
    """What binomial filters of growing width take away, and what they leave, of the same shape."""
    bands = []
    for times in (1, 2):
        smooth = volume
        for _ in range(2 * times):
            smooth = F.avg_pool3d(smooth, 2, stride=1)
        bands.append(volume[(..., *(slice(times, -times),) * 3)] - smooth)
        volume = smooth
    return [*bands, volume]


def structure_tensor(volume: Tensor) -> Tensor:
    """Products of gradients (xx, yy, zz, xy, xz, yz), averaged over 6 mm; of (B, 1, X, Y, Z) at 1 mm."""
    mean = [F.avg_pool3d(volume, kernel, stride=1) for kernel in ((1, 2, 2), (2, 1, 2), (2, 2, 1))]
    x, y, z = (m.diff(dim=axis) for axis, m in zip((2, 3, 4), mean, strict=True))
    products = torch.cat([x * x, y * y, z * z, x * y, x * z, y * z], 1)
    return F.avg_pool3d(products, 6, stride=3)


def _fine(volume: Tensor) -> Tensor:
    """Mean square of what a mean over 3 mm takes away."""
    volume = volume.detach()
    return (volume[..., 1:-1, 1:-1, 1:-1] - F.avg_pool3d(volume, 3, stride=1)).square().mean()
