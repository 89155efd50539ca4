"""Damaged, truncated, huge and malicious NIfTI files: one clear line each, and memory for all else."""

import gzip
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import phantom as synthetic
import pytest

from cpmae_bids.deid.images import nifti
from cpmae_bids.deid.qc import scan_checks
from cpmae_bids.exceptions import InputError

FAST, ALL = 1500, 12000
TEMPLATES = [  # data type, NIfTI-2, extension
    ('<i2', False, b''),
    ('>f4', False, b''),
    ('<f8', True, b''),
    ('|u1', False, b'extension'),
    ('>i2', True, b'more'),
]
NASTY = (0, 1, -1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**63 - 1)
NASTY_FLOATS = (
    0.0,
    -0.0,
    1e-45,
    1e38,
    -1e38,
    float('nan'),
    float('inf'),
    -float('inf'),
    1e-20,
    348.0,
    352.0,
    1e18,
)


@pytest.fixture(scope='module')
def bases():
    """Small valid files of every kind, uncompressed."""
    values = np.random.default_rng(0).uniform(0, 250, (24, 25, 26))
    affine = np.diag([5.0, 5, 5, 1])
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            synthetic.write(Path(folder, f'{k}.nii'), values, affine, dtype, nifti2=two, extension=extension)
            for k, (dtype, two, extension) in enumerate(TEMPLATES)
        ]
        return [path.read_bytes() for path in paths]


def mutate(base: bytes, rng: random.Random) -> bytes:
    """One of many ways to spoil a file."""
    content = bytearray(base)
    header = 540 if content[:4] in (b'\x1c\x02\0\0', b'\0\0\x02\x1c') else 348
    kind = rng.randrange(8)
    if kind == 0:  # bits of the header
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(header)] ^= 1 << rng.randrange(8)
    elif kind == 1:  # one field of the header takes a nasty value
        dtype = (nib.Nifti2Header if header == 540 else nib.Nifti1Header).template_dtype
        order = '<' if content[0] in (0x1C, 0x5C) else '>'
        name = rng.choice(dtype.names)
        kind_of, offset = dtype.fields[name][:2]
        base_type = kind_of.base.newbyteorder(order)
        if base_type.kind in 'iuf':
            count = int(np.prod(kind_of.shape)) if kind_of.shape else 1
            place = offset + rng.randrange(count) * base_type.itemsize
            nasty = NASTY_FLOATS if base_type.kind == 'f' else NASTY
            with np.errstate(all='ignore'):
                value = np.array(rng.choice(nasty)).astype(base_type)
            content[place : place + base_type.itemsize] = value.tobytes()
        else:
            content[offset] = rng.randrange(256)
    elif kind == 2:  # all dimensions
        order = '<' if content[0] in (0x1C, 0x5C) else '>'
        place, code = (16, 'q') if header == 540 else (40, 'h')
        size = 8 if header == 540 else 2
        limit = 2 ** (8 * size - 1) - 1
        dims = [rng.choice([3, 3, 3, 4, 7, rng.randint(-3, 12)])]
        dims += [rng.choice([rng.randint(-2, 40), limit, rng.randint(0, limit)]) for _ in range(7)]
        content[place : place + 8 * size] = struct.pack(f'{order}8{code}', *dims)
    elif kind == 3:
        del content[rng.randrange(len(content)) :]
    elif kind == 4:  # voxels
        for _ in range(rng.randint(1, 40)):
            content[rng.randrange(header, len(content))] = rng.randrange(256)
    elif kind == 5:
        content += bytes(rng.randrange(5000))
    elif kind == 6:  # slices of it come twice or are lost
        a, b = sorted(rng.randrange(len(content)) for _ in range(2))
        content = content[:a] + content[b:] if rng.random() < 0.5 else content[:b] + content[a:]
    else:
        content[: rng.randint(1, 700)] = rng.randbytes(rng.randint(1, 700))
    if rng.random() < 0.4:
        packed = bytearray(gzip.compress(bytes(content), 1))
        if rng.random() < 0.5:
            for _ in range(rng.randint(1, 3)):
                packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.2:
            del packed[rng.randrange(len(packed)) :]
        return bytes(packed)
    return bytes(content)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('cases', [FAST, pytest.param(ALL, marks=[pytest.mark.slow, pytest.mark.exhaustive])])
def test_mutated_files_are_read_or_refused_in_one_line(bases, tmp_path, fault, cases):
    path = tmp_path / 'scan.nii.gz'
    rng = random.Random(cases)
    outcomes, slowest = {'read': 0, 'refused': 0}, 0.0
    for number in range(cases):
        content = mutate(bases[number % len(bases)], rng)
        path.write_bytes(content)
        began = time.perf_counter()
        try:
            scan = scan_checks.load_t1w(path)
        except InputError as error:
            outcomes['refused'] += str(error).startswith(f'{path}: ') and '\n' not in str(error)
        else:
            outcomes['read'] += 1
            assert np.isfinite(scan.values()).all()
            if number % 10 == 0:  # what was read can be written, and is the same then
                nifti.write(tmp_path / 'out.nii', scan.raw, scan)
                assert nifti.read(tmp_path / 'out.nii').raw.tobytes() == scan.raw.tobytes()
        slowest = max(slowest, time.perf_counter() - began)
        assert path.read_bytes() == content
    assert sum(outcomes.values()) == cases
    assert min(outcomes.values()) > cases / 50
    assert slowest < 10
    fault('headers', f'{cases} mutated files', f'{outcomes["refused"]} refused, {outcomes["read"]} read', [])


def header_of(shape, datatype=4, bits=16, offset=352.0, **fields) -> bytes:
    """A NIfTI-1 header that claims something."""
    header = nib.Nifti1Header()
    header['dim'] = [3, *shape, 1, 1, 1, 1]
    header['datatype'], header['bitpix'], header['vox_offset'], header['magic'] = (
        datatype,
        bits,
        offset,
        b'n+1',
    )
    header['pixdim'] = [1, 1, 1, 1, 1, 1, 1, 1]
    header.set_sform(np.diag([1.0, 1, 1, 1]), 1)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


def compressed(start: bytes, zeros: int) -> bytes:
    """Compress a header and very many zeros, in little memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(start)]
    block = bytes(2**24)
    for _ in range(zeros // len(block)):
        parts.append(packer.compress(block))
    return b''.join([*parts, packer.flush()])


CLAIMS = {
    'dimensions of 70 TB': header_of((32767, 32767, 32767)),
    'dimensions of 2 GiB in a file of 352 bytes': header_of((1024, 1024, 1023)),
    'no voxels': header_of((0, 5, 5)),
    'negative dimensions': header_of((-5, 5, 5)),
    'a surface for FreeSurfer': header_of((27307, 1, 6)),
    'voxels behind the end of the earth': header_of((20, 20, 20), offset=1e30),
    'voxels at NaN': header_of((20, 20, 20), offset=np.nan),
    'voxels within the header': header_of((20, 20, 20), offset=100.0) + bytes(16000),
    'voxels before the file': header_of((20, 20, 20), offset=-352.0) + bytes(16000),
    'complex numbers': header_of((20, 20, 20), 32, 64) + bytes(64000),
    'colours': header_of((20, 20, 20), 128, 24) + bytes(24000),
    'one bit per voxel': header_of((20, 20, 20), 1, 1) + bytes(1000),
    '128-bit numbers': header_of((20, 20, 20), 1536, 128) + bytes(128000),
    'a data type that is none': header_of((20, 20, 20), 12345, 16) + bytes(16000),
    'infinite scaling': header_of((120, 120, 120), scl_slope=np.inf) + os.urandom(2 * 120**3),
    'scaling beyond numbers': header_of((120, 120, 120), scl_slope=3e38) + os.urandom(2 * 120**3),
    'scaling to nothing': header_of((120, 120, 120), scl_slope=1e-44) + os.urandom(2 * 120**3),
    'an affine of NaN': header_of((120, 120, 120), srow_x=[np.nan] * 4) + os.urandom(2 * 120**3),
    'an affine of zeros': header_of((120, 120, 120), srow_x=[0] * 4) + os.urandom(2 * 120**3),
    'an affine of a planet': header_of((120, 120, 120), srow_x=[1e38, 0, 0, 0]) + os.urandom(2 * 120**3),
    'a shell script': b'#!/bin/sh\nrm -rf /\n',
    'a DICOM file': bytes(128) + b'DICM' + bytes(1000),
    'a pickle': b"cos\nsystem\n(S'true'\ntR." + bytes(1000),
    'a zip file': b'PK\3\4' + bytes(1000),
    'gzip in gzip': gzip.compress(gzip.compress(header_of((20, 20, 20)) + bytes(16000))),
    'an empty gzip file': gzip.compress(b''),
    'half a magic number': b'\x1f',
    'gzip without content': b'\x1f\x8b',
    'an image in two files': header_of((20, 20, 20), magic=b'ni1') + bytes(16000),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('what', CLAIMS)
def test_malicious_files_are_refused(tmp_path, fault, what):
    path = tmp_path / 'scan.nii.gz'
    path.write_bytes(CLAIMS[what])
    with pytest.raises(InputError) as caught:
        scan_checks.load_t1w(path)
    assert str(caught.value).startswith(str(path))
    fault('headers', what, 'refused', [])


BOMBS = {  # header, zeros behind it, members with more zeros
    'a bomb behind a small volume': ((20, 20, 20), 2**30, 0),
    'a bomb that claims its size': ((1700, 1700, 1700), 2**30, 0),
    'many members of zeros': ((20, 20, 20), 2**25, 800),
}


@pytest.mark.parametrize('what', BOMBS)
@pytest.mark.slow
def test_a_bomb_is_refused_before_memory_is_short(tmp_path, fault, what):
    """In a process that may take 512 MiB more than it takes empty."""
    path = tmp_path / 'scan.nii.gz'
    shape, zeros, members = BOMBS[what]
    path.write_bytes(
        compressed(header_of(shape), zeros) + (compressed(b'', 2**28) * members if members else b'')
    )
    code = (
        'import resource, sys\n'
        'from cpmae_bids.deid.qc import scan_checks\n'
        'from cpmae_bids.exceptions import InputError\n'
        'used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()\n'
        'resource.setrlimit(resource.RLIMIT_AS, (used + 2**29,) * 2)\n'
        'try:\n'
        '    scan_checks.load_t1w(sys.argv[1])\n'
        'except InputError as error:\n'
        '    print(error)\n'
        '    print([int(x.split()[1]) // 1024 for x in open("/proc/self/status") if "VmHWM" in x][0])\n'
        '    sys.exit(7)\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', code, str(path)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 7, result.stderr
    mebibytes = int(result.stdout.split()[-1])
    assert mebibytes < 400
    fault(
        'bombs', f'{what}: {path.stat().st_size / 2**20:.1f} MiB', f'refused at {mebibytes} MiB of memory', []
    )


def test_a_pipe_and_a_folder_are_refused_at_once(tmp_path, fault):
    os.mkfifo(tmp_path / 'pipe.nii.gz')
    (tmp_path / 'folder.nii.gz').mkdir()
    (tmp_path / 'loop.nii.gz').symlink_to('loop.nii.gz')
    for name in ('pipe', 'folder', 'loop'):
        with pytest.raises(InputError):
            scan_checks.load_t1w(tmp_path / f'{name}.nii.gz')
        fault('headers', f'a {name} in place of a scan', 'refused', [])
