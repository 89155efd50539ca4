"""The checker sees what it is there to see: a check that finds nothing in anything would prove nothing."""

import gzip
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from invariants import processes

from cpmae_bids.bids.publish import publish_scan
from cpmae_bids.bids.verdict_records import identify

IMAGE = 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz'


@pytest.fixture
def output(sink):
    """An output in order: its folder, the original, and a call that checks it."""
    scan, config, files, verdict, look = sink
    publish_scan(scan, config, files, verdict)
    return config.output_dir, scan.path, look


def kinds(complaints):
    return {line.partition(' ')[0] for line in complaints}


def test_an_output_in_order_is_in_order(output):
    assert output[2]() == []


def test_an_original_in_place_of_the_output(output):
    out, original, look = output
    (out / IMAGE).write_bytes(original.read_bytes())
    assert {'LEAK', 'RECORD'} <= kinds(look())


def test_an_original_that_a_record_vouches_for(output):
    """Even if everything else has been made to fit."""
    out, original, look = output
    (out / IMAGE).write_bytes(original.read_bytes())
    path = out / 'logs/verdicts/sub-01_T1w.json'
    record = json.loads(path.read_text())
    record['files'][IMAGE] = identify(original, {'x': original})['judged']['x']
    path.write_text(json.dumps(record))
    assert kinds(look()) == {'LEAK'}


@pytest.mark.parametrize('where', ['sub-01/anat/copy.bin', '.hidden', 'figures/x.png', 'logs/crash.pklz'])
def test_an_original_under_any_name(output, where):
    out, original, look = output
    (out / where).parent.mkdir(exist_ok=True)
    for content in (gzip.decompress(original.read_bytes()), original.read_bytes()):
        (out / where).write_bytes(b'before it' + content if content[:2] != b'\x1f\x8b' else content)
        assert 'LEAK' in kinds(look()), where


def test_arrays_of_the_original(output):
    out, original, look = output
    raw = np.asanyarray(nib.load(original).dataobj)
    np.savez_compressed(out / 'arrays.npz', head=raw)
    assert 'LEAK' in kinds(look())


def test_a_piece_of_the_original(output):
    """The lower half of the head came back."""
    out, original, look = output
    image = nib.load(out / IMAGE)
    raw = np.asanyarray(image.dataobj).copy()
    half = raw.shape[2] // 2
    raw[..., :half] = np.asanyarray(nib.load(original).dataobj)[..., :half]
    nib.save(nib.Nifti1Image(raw, image.affine), out / IMAGE)
    assert 'LEAK' in kinds(look())


def test_a_mask_that_keeps_everything(output):
    out, _, look = output
    mask = out / IMAGE.replace('refaced_T1w', 'brain_mask')
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine), mask)
    assert 'LEAK' in kinds(look())


def test_a_partial_image(output):
    out, _, look = output
    content = (out / IMAGE).read_bytes()
    (out / IMAGE).write_bytes(content[: len(content) // 2])
    assert 'PARTIAL' in kinds(look())


def test_a_temporary_file_that_was_left(output):
    out, original, look = output
    leftover = (out / IMAGE).with_name('.x.nii.gz.abcd.tmp')
    leftover.write_bytes((out / IMAGE).read_bytes())
    assert kinds(look()) == {'PARTIAL'}
    assert look(killed=True) == []
    leftover.write_bytes(original.read_bytes()[:-1000])  # where it was cut off does not matter
    assert 'LEAK' in kinds(look(killed=True))


def test_half_a_record(output):
    out, _, look = output
    path = out / 'logs/verdicts/sub-01_T1w.json'
    path.write_text(path.read_text()[:-20])
    assert {'PARTIAL', 'RECORD'} <= kinds(look())


def test_a_changed_input(output):
    _, original, look = output
    with original.open('r+b') as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    assert kinds(look()) == {'INPUT'}


def test_a_file_more_in_the_input(output):
    _, original, look = output
    original.with_name('new.txt').touch()
    assert kinds(look()) == {'INPUT'}


def test_a_process_that_survived(output, tmp_path):
    code = 'import time; time.sleep(60)'
    process = subprocess.Popen([sys.executable, '-SE', '-c', code], env={'WHERE': str(tmp_path)})
    try:
        assert kinds(output[2](workers_of=tmp_path)) == {'PROCESS'}
    finally:
        process.kill()
        process.wait()
    assert processes(str(tmp_path)) == []
