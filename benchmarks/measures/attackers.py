"""Can recognisers find the person that nobody tuned against? And is the mesh of the face one of people?

mobileface and faceres-deep look at the same renderings as dlib does, with a detector of their own, and search
like `benchmarks.measures.recognition`. See `benchmarks.humanfaces`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import humanfaces
from benchmarks.measures.recognition import search
from benchmarks.pairs import DEFAULT, GALLERY, PERTURBED, Pair, work_folder
from benchmarks.statistics import SEED, share
from cpmae_bids.sharing.faces.recogniser import YAWS

METHODS = (*DEFAULT, PERTURBED, GALLERY)
NEEDS_MODELS = tuple((humanfaces.FOLDER, f'{name}.json') for name in humanfaces.FILES)

FRONTAL = YAWS.index(0.0)
LIMIT = 99.0
"""Percentile of the distances of originals up to which a mesh is plausible."""

FOLDS = 5
TO_LEARN_FROM = 20
"""Meshes of originals that the shapes of faces are learnt from at least."""


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """``views_with_face``: in how many views a face is found; ``frontal``: in the one from the front."""
    found = look(pair)['found']
    return {'views_with_face': int(found.sum()), 'frontal': bool(found[FRONTAL])}


def look(pair: Pair) -> dict[str, np.ndarray]:
    """What the networks see in the renderings of the output of a pair, computed once.

    Returns
    -------
    arrays : dict
        ``found``, bool (views,); ``mesh`` (468, 3) from the front, and by recogniser the mean embedding of
        the views: ``nan`` without a face.
    """
    path = _path(pair.work)
    if not path.exists():
        import nibabel as nib

        from cpmae_bids.reports.render import render_field, skin_field

        image = nib.load(pair.output)
        try:
            field = skin_field(np.asanyarray(image.dataobj), image.affine)
        except ValueError:  # no head at all
            faces: list = [None] * len(YAWS)
        else:
            faces = [humanfaces.find_face(render_field(field, yaw_deg=yaw)) for yaw in YAWS]
        part = path.with_suffix('.part.npz')
        np.savez(part, **summary(faces))
        part.replace(path)
    return _read(pair.work)


def summary(faces: list) -> dict[str, np.ndarray]:
    """Arrays of `look` from the faces of the views; None where there is none."""
    seen = [face for face in faces if face is not None]
    mesh = np.full((468, 3), np.nan) if faces[FRONTAL] is None else faces[FRONTAL].mesh
    arrays = {'found': np.array([face is not None for face in faces]), 'mesh': mesh}
    for name in humanfaces.RECOGNISERS:
        arrays[name] = (
            np.mean([face.embeddings[name] for face in seen], axis=0) if seen else np.full(1, np.nan)
        )
    return arrays


def _path(work: Path) -> Path:
    return work / 'attackers.npz'


def _read(work: Path) -> dict[str, np.ndarray]:
    with np.load(_path(work)) as arrays:
        return dict(arrays)


def pool(values: dict[str, dict[str, dict]], out: Path) -> dict[str, dict]:
    """Success of each recogniser, and shares of faces that are found from the front and plausible.

    ``<recogniser>_<key>`` are those of `recognition.search`. ``mesh_frontal``: a face is found from the
    front; ``mesh_plausible``: its mesh is no farther from those of originals than 99 % of these are.
    """
    arrays = {
        (method, scan): _read(work_folder(out, method, scan))
        for method, scans in values.items()
        for scan in scans
    }
    pooled: dict[str, dict] = {method: {} for method in values if method != GALLERY}
    for name in humanfaces.RECOGNISERS:
        length = max(len(one[name]) for one in arrays.values())

        def template(method: str, scan: str, name: str = name, length: int = length) -> np.ndarray:
            found = arrays[method, scan][name]
            return found if len(found) == length else np.full(length, np.nan)

        for method, numbers in search(values, out, template).items():
            pooled[method] |= {f'{name}_{key}': value for key, value in numbers.items()}
    for method, rates in plausible({key: one['mesh'] for key, one in arrays.items()}).items():
        pooled[method] |= rates
    return pooled


def plausible(meshes: dict[tuple[str, str], np.ndarray]) -> dict[str, dict]:
    """Shares of faces found and of plausible meshes by method; the latter if there is enough to learn from.

    Parameters
    ----------
    meshes : dict
        By method and scan; ``nan`` without a face.
    """
    known = np.array(
        [
            mesh
            for (method, _), mesh in meshes.items()
            if method in ('original', GALLERY) and np.isfinite(mesh).all()
        ]
    )
    enough = len(known) >= TO_LEARN_FROM
    if enough:  # the limit is that of faces that the shapes were not learnt from
        fold = np.random.default_rng(SEED).permutation(len(known)) % FOLDS
        unseen = [humanfaces.shape_distances(known[fold != n], known[fold == n]) for n in range(FOLDS)]
        limit = np.percentile(np.concatenate(unseen), LIMIT)
    rates: dict[str, dict] = {}
    for method in dict.fromkeys(method for method, _ in meshes if method != GALLERY):
        own = [mesh for (other, _), mesh in meshes.items() if other == method]
        found = np.array([bool(np.isfinite(mesh).all()) for mesh in own])
        rates[method] = {'mesh_frontal': list(share(found))}
        if enough:
            fine = found.astype(float)
            if found.any():
                shapes = np.array([mesh for mesh, seen in zip(own, found, strict=True) if seen])
                fine[found] = humanfaces.shape_distances(known, shapes) <= limit
            rates[method]['mesh_plausible'] = list(share(fine))
    return rates
