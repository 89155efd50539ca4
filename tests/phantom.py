"""A synthetic head in the template's world, sampled on any grid, and NIfTI files written byte by byte."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from cpmae_bids.deid.space import geometry
from cpmae_bids.deid.synthesis import blending

SCALE = 300.0  # about the intensity of white matter
SIGMA = 6.0  # of the noise of both channels of the magnitude image


def grid(voxels=(2.0, 2.0, 2.0), axes='RAS', oblique: float = 0.0) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of a grid around the head: 200 x 240 x 240 mm.

    Parameters
    ----------
    voxels : sequence of 3 float
        Edges along right, anterior and superior, mm.
    axes : str
        Orientation of the voxel axes.
    oblique : float
        Rotation of the grid about two axes, degrees.
    """
    extent = np.array([200.0, 240.0, 240.0])
    shape = tuple(round(e / v) for e, v in zip(extent, voxels, strict=True))
    affine = np.diag([*voxels, 1.0])
    affine[:3, 3] = [-100, -130, -130]
    affine[:3, 3] += np.asarray(voxels) / 2
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(np.eye(4)), nib.orientations.axcodes2ornt(tuple(axes))
    )
    affine = affine @ nib.orientations.inv_ornt_aff(turn, shape)
    shape = tuple(shape[int(i)] for i in np.argsort(turn[:, 0]))
    rotation = np.eye(4)
    rotation[:3, :3] = rotation_matrix(oblique, 0, oblique / 2)
    return shape, rotation @ affine


def rotation_matrix(*degrees: float) -> np.ndarray:
    """Rotation about x, then y, then z; shape (3, 3)."""
    result = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
        result = turn @ result
    return result


def head(shape, affine, person: int = 0, noise: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Sample a head.

    Parameters
    ----------
    shape : tuple of int
    affine : ndarray, shape (4, 4)
        Voxels to the template's world.
    person : int
        All have the same brain; face, scalp and the texture of both differ.
    noise : bool

    Returns
    -------
    values : ndarray of float32, shape `shape`
    brain : ndarray of bool, shape `shape`
    """
    index = np.indices(shape, dtype=np.float32)
    x, y, z = (sum(affine[a, i] * index[i] for i in range(3)) + affine[a, 3] for a in range(3))
    rng = np.random.default_rng(person)
    skin, length, width = 1.22 + 0.06 * rng.random(), 8 * rng.random(), 4 * rng.random()

    def ball(center, radii):
        return sum(((c - m) / r) ** 2 for c, m, r in zip((x, y, z), center, radii, strict=True))

    radius = np.sqrt(ball((0, -18, 8), (66, 84, 66)))
    brain = radius < 1
    outer = (radius < skin) | (ball((0, 18, -52), (58 + width, 74, 66)) < 1)
    outer |= ball((0, 78 + length, -56), (14 + width, 24, 20)) < 1
    outer |= ((x / 50) ** 2 + ((y + 20) / 55) ** 2 < 1) & (z < -50)
    values = np.where(outer, 0.7 + 0.5 * _texture(x, y, z, rng), 0)
    values[(radius >= 1) & (radius < 1.04)] = 0.25  # fluid
    values[(radius >= 1.04) & (radius < 1.12)] = 0.12  # bone
    values[brain] = (0.85 + 0.3 * _texture(x, y, z, np.random.default_rng(99)))[brain]
    values = values.astype(np.float32) * SCALE
    if noise:
        values = np.hypot(
            values + SIGMA * rng.standard_normal(shape, np.float32),
            SIGMA * rng.standard_normal(shape, np.float32),
        )
    return values.astype(np.float32), brain


def cube(person: int, n: int = 128) -> np.ndarray:
    """Head without brain in the cube, as a model would generate it; float16, shape (n, n, n)."""
    values, brain = head((n, n, n), geometry.grid_affine(n), person, noise=False)
    values /= SCALE
    values[brain] = 0.3
    return values.astype(np.float16)


def _texture(x, y, z, rng) -> np.ndarray:
    """Sum of waves of 12 to 30 mm, within -1 and 1."""
    total = np.zeros_like(x)
    for _ in range(4):
        direction = rng.standard_normal(3)
        direction *= 2 * np.pi / rng.uniform(12, 30) / np.linalg.norm(direction)
        total += np.cos(direction[0] * x + direction[1] * y + direction[2] * z + rng.uniform(0, 6))
    return total / 4


def write(
    path: Path,
    values: np.ndarray,
    affine: np.ndarray,
    dtype: str = '<i2',
    slope: float = 1.0,
    inter: float = 0.0,
    *,
    descrip: bytes = b'',
    extension: bytes = b'',
    nifti2: bool = False,
) -> Path:
    """Write scaled values as NIfTI without the code under test.

    Parameters
    ----------
    path : Path
        Compressed if it ends in ``.gz``.
    values : ndarray
    affine : ndarray, shape (4, 4)
        Both sform (code 1) and qform (code 1).
    dtype : str
        With byte order.
    slope, inter : float
    descrip : bytes
    extension : bytes
        Content of a comment extension, if any.
    nifti2 : bool
    """
    dtype = np.dtype(dtype)
    raw = (values - inter) / slope
    if dtype.kind in 'iu':
        info = np.iinfo(dtype)
        raw = np.clip(np.rint(raw), info.min, info.max)
    kind = nib.Nifti2Header if nifti2 else nib.Nifti1Header
    header = kind(endianness='>' if dtype.str[0] == '>' else '<')
    header.set_data_dtype(dtype)
    header.set_data_shape(values.shape)
    header.set_sform(affine, 1)
    header.set_qform(affine, 1, strip_shears=True)
    header.set_xyzt_units('mm', 'sec')
    header['scl_slope'], header['scl_inter'] = slope, inter
    header['descrip'] = descrip
    extra = bytes(4)
    if extension:
        size = -(-(len(extension) + 8) // 16) * 16
        order = 'big' if header.endianness == '>' else 'little'
        extra = b'\1\0\0\0' + size.to_bytes(4, order) + (6).to_bytes(4, order)
        extra += extension.ljust(size - 8, b'\0')
    header['vox_offset'] = len(header.binaryblock) + len(extra)
    header['magic'] = b'n+2' if nifti2 else b'n+1'
    content = header.binaryblock + extra + raw.astype(dtype).tobytes(order='F')
    path = Path(path)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == '.gz' else content)
    return path


def synthesize(head, scale, affine, world_to_template, shape, air, seed, sigma=None):
    """A head of the template grid as the blend step draws it: on the grid of a scan, in air and noise."""
    placed = blending.place(head, scale, affine, world_to_template, shape)
    if sigma is None:  # tissue as noisy as the air, whose median is 1.1774 sigma
        sigma = scale * air.busy[-1] ** 0.5 * 10 ** (air.level[-1] / 20) / 1.1774
    return blending.add_air(placed, scale, affine, air, sigma, seed)
