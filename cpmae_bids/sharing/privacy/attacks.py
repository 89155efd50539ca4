"""Does any output match its own original better than others' originals?

Two attacks that have all originals: by *geometry*, the depth of the skin of the face in the frame of the
shared brain; by *recogniser*, embeddings of renderings (extra ``cpmae-bids[audit]``). No picture is kept.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from cpmae_bids.bids.patterns import output_path, split_name
from cpmae_bids.deid.images import background, intensity, masks, nifti
from cpmae_bids.deid.qc.face import foremost
from cpmae_bids.deid.space import geometry, regions
from cpmae_bids.sharing.faces import recogniser
from cpmae_bids.sharing.privacy import brain_frame
from cpmae_bids.sharing.privacy.identification import Attack, attack

N = 128  # voxels along the template grid on which heads are compared: 2 mm
MIN_SEEN = 0.1  # share of the face that two scans must have in common to be compared
FEW = 10  # outputs below which the numbers mean little
MAX_LUCK = 0.001  # probability up to which hits in few outputs are no luck

# Mean distance of an output's skin to that of its original below which it is the same face: the limit of the
# verdict's ``surface_moved_mm``
SAME_MM = 0.7

# Area under the curve that heads which were generated from the brain may reach, since a brain tells something
# about its head
TOLERATED = {'geometry': 0.65, 'recogniser': 0.60}


@dataclass(frozen=True)
class Pair:
    """An output, and what it was made from."""

    scan: str
    refaced: Path
    preserved: Path
    original: Path


@dataclass(frozen=True)
class Faces:
    """Numbers that stand for the faces of an output and of its original; never shared."""

    # float32, shape (2, P): mm along rays from the front, output first; NaN where the field of view ends
    depths: np.ndarray
    embeddings: np.ndarray  # shape (2, 128): NaN without a face, or without the recogniser


@dataclass(frozen=True)
class Privacy:
    """Result of the audit."""

    attacks: dict[str, Attack | None]  # by name; None where there was nothing to compare
    unmoved: list[str]  # scans whose output has the skin of its original
    unread: list[str]  # scans that could not be compared, with the reason

    def alarms(self) -> list[str]:
        """One line for each reason not to share the outputs."""
        lines = [f'{scan}: the output has the face of its original' for scan in self.unmoved]
        lines += [f'{name}: {text}' for name, result in self.attacks.items() if (text := alarm(name, result))]
        return lines

    def rows(self) -> list[tuple]:
        """A row for each attack: name, outputs, rank-1 share, chance, AUC, result."""
        rows = []
        for name, result in self.attacks.items():
            if result is None:
                rows.append((name, 0, 'nothing to compare', '', '', ''))
                continue
            share, low, high = result.rank1
            auc = f'{result.auc[0]:.2f} ({result.auc[1]:.2f} to {result.auc[2]:.2f})'
            found = f'{share:.0%} ({low:.0%} to {high:.0%})'
            verdict = 'ALARM' if alarm(name, result) else 'no alarm'
            rows.append((name, result.probes, found, f'{result.chance:.1%}', auc, verdict))
        return rows

    def notes(self) -> list[str]:
        """Sentences that the rows need to be understood."""
        limits = ' and '.join(f'{TOLERATED[name]:.2f} ({name})' for name in self.attacks)
        notes = [
            f'An alarm is given where the lower end of the interval of the AUC exceeds {limits} (with fewer '
            f'than {FEW} outputs: where as many hits have a chance below {MAX_LUCK:g}), or where an output '
            'has the face of its original. A brain tells something about its head, so that a generated head '
            'may match a little better than by guessing.'
        ]
        probes = max((result.probes for result in self.attacks.values() if result), default=0)
        if probes < FEW:
            notes.append(f'{probes} outputs are few: these numbers mean little.')
        if self.unmoved:
            notes.append(f'ALARM: these outputs have the face of their original: {", ".join(self.unmoved)}')
        if self.unread:
            notes.append(f'{len(self.unread)} outputs could not be compared.')
        return notes

    def numbers(self) -> dict[str, Any]:
        """The result without any scan's rank, which would show an attacker which matches are right."""
        attacks = {name: result and result.numbers() for name, result in self.attacks.items()}
        return {'attacks': attacks, 'alarms': self.alarms(), 'not_compared': self.unread}


def alarm(name: str, result: Attack | None) -> str:
    """Say why an attack's success exceeds what a brain predicts of its head; empty if it does not."""
    if result is None:
        return ''
    if result.probes < FEW:  # too few for an interval; but that many hits do not come by luck
        text = f'own original first for {result.rank1[0]:.0%} of {result.probes} outputs'
        return text if result.luck < MAX_LUCK else ''
    if result.auc[1] <= TOLERATED[name]:
        return ''
    return (
        f'outputs match their own originals better than others: AUC {result.auc[0]:.2f} '
        f'(95 % from {result.auc[1]:.2f}), tolerated {TOLERATED[name]:.2f}'
    )


def describe_attacks(privacy: Privacy) -> list[str]:
    """Lines that say how the attacks went."""
    lines = [f'not compared: {text}' for text in privacy.unread]
    for name, probes, found, chance, auc, _ in privacy.rows():
        if not probes:
            lines.append(f'privacy by {name}: {found}')
            continue
        few = f' ({probes} outputs are few, this means little)' if probes < FEW else ''
        lines.append(
            f'privacy by {name}: own original first for {found} of {probes} outputs, by guessing {chance}; '
            f'AUC {auc}, by guessing 0.50{few}'
        )
    return lines + [f'ALARM {text}' for text in privacy.alarms()]


def find_pairs(output_dir: Path, bids_dir: Path, records: Iterable[dict[str, Any]]) -> list[Pair]:
    """Return the T1w outputs that passed and whose originals are there, if only as links to nowhere.

    Other contrasts share their heads; among T1w scans, their contrast would give them away.
    """
    pairs = []
    for record in records:
        is_there = os.path.lexists(bids_dir / record['scan'])
        if record['status'] == 'pass' and not record.get('t1w') and is_there:
            refaced, preserved = (
                output_dir / output_path(record['scan'], k) for k in ('refaced', 'brainmask')
            )
            pairs.append(Pair(record['scan'], refaced, preserved, bids_dir / record['scan']))
    return pairs


def describe(pair: Pair, recognise: bool) -> Faces | str:
    """Measure both faces of a pair, or say why that cannot be done."""
    try:
        preserved = nifti.read(pair.preserved)
        inside = preserved.values() > 0.5
        matrix = brain_frame.world_to_template(inside, preserved.affine)
        original = background.suppress_background(nifti.read(pair.original))
        scans = [background.in_units_of(original, nifti.read(pair.refaced)), original]
        if any(scan.shape != preserved.shape for scan in scans):
            return 'the output is not on the grid of its original'
        scale = intensity.brain_scale(scans[0].values()[inside])
        return Faces(
            np.stack([face_depth(scan, scale, matrix) for scan in scans]),
            np.stack([recogniser.describe(scan.values(), scan.affine) for scan in scans])
            if recognise
            else np.full((2, 128), np.nan),
        )
    except Exception as err:  # whatever is wrong with one scan must not hide the others
        text = str(err) or type(err).__name__
        for path in (pair.refaced, pair.preserved, pair.original):  # the report is relative to the folders
            text = text.replace(str(path), path.name)
        return text


def face_depth(scan: nifti.Image, scale: float, world_to_template: np.ndarray) -> np.ndarray:
    """Depth of the skin of the face in the frame of the brain; float32, shape (P,).

    In mm from the front of `regions.FACE`, a ray for each 2 mm; the depth of the box where there is no skin,
    and NaN where the field of view begins within the head. `scale` is the intensity that is 1 on the template
    grid.
    """
    window = ndimage.find_objects(regions.box(regions.FACE, N).astype(np.uint8))[0]
    cube = geometry.to_template(scan.values(), scan.affine, world_to_template, N)[window] / scale
    in_fov = geometry.field_of_view(scan.shape, scan.affine, world_to_template, N)[window]
    index, there = foremost(masks.head_mask(cube) & in_fov)
    border, seen = foremost(in_fov)
    behind_front = np.where(there, cube.shape[1] - 1 - index, cube.shape[1]).astype(np.float32)
    cut = there & (index == border)
    return np.where(seen & ~cut, behind_front * (geometry.GRID_EDGE_MM / N), np.nan).ravel()


def depth_distances(probes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Mean absolute difference of depths over the rays that both have, shape (probes, gallery), mm."""
    distances = np.full((len(probes), len(gallery)), np.nan)
    for row, probe in enumerate(probes):
        difference = np.abs(gallery - probe)
        enough = np.isfinite(difference).mean(axis=1) >= MIN_SEEN
        distances[row, enough] = np.nanmean(difference[enough], axis=1)
    return distances


def audit(pairs: list[Pair], recognise: bool, each: Callable[..., Iterable] = map) -> Privacy:
    """Attack the outputs with all originals.

    `recognise` adds the face recogniser. `each` is as `map`; that of a pool of processes handles several
    scans at a time.
    """
    described = list(zip(pairs, each(describe, pairs, [recognise] * len(pairs)), strict=True))
    usable = [(pair, faces) for pair, faces in described if isinstance(faces, Faces)]
    unread = [f'{pair.scan}: {text}' for pair, text in described if isinstance(text, str)]
    names = ('geometry', 'recogniser') if recognise else ('geometry',)
    if not usable:
        return Privacy(dict.fromkeys(names), [], unread)
    people = np.unique([split_name(pair.scan)[0]['sub'] for pair, _ in usable], return_inverse=True)[1]
    depths = np.stack([faces.depths for _, faces in usable])
    moved = [depth_distances(pair[:1], pair[1:])[0, 0] for pair in depths]
    unmoved = [pair.scan for (pair, _), mm in zip(usable, moved, strict=True) if mm < SAME_MM]
    attacks = {'geometry': attack(depth_distances(depths[:, 0], depths[:, 1]), people, people)}
    if recognise:
        embeddings = np.stack([faces.embeddings for _, faces in usable], axis=1)
        attacks['recogniser'] = attack(cdist(*embeddings), people, people)
    return Privacy(attacks, unmoved, unread)
