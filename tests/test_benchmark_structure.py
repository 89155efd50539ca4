"""Structure is told from grain, globes and ears are found where they are and nowhere else."""

import json

import nibabel as nib
import numpy as np
import phantom
import pytest
from scipy import ndimage

from benchmarks import anatomy, ears, groups, structure
from benchmarks.measures import structure as measure
from benchmarks.pairs import Pair

SIZES = np.array([2.0, 2.0, 2.0])


@pytest.fixture(scope='module')
def head():
    shape, affine = phantom.grid()
    values, brain = phantom.head(shape, affine, 1)
    return values, brain, affine


def _plain_structure(x, brain, z):
    """The definition, over the whole volume and in one piece."""
    x = x / np.percentile(x[brain], 75)
    distance = ndimage.distance_transform_edt(~brain, sampling=z)
    tissue = (ndimage.gaussian_filter(x, 2 / z) > 0.12) & (distance > 6)
    inner = tissue & (ndimage.distance_transform_edt(tissue | (distance <= 6), sampling=z) > 6)
    index = np.flatnonzero(inner)
    chosen = np.zeros(inner.size, bool)
    chosen[np.random.default_rng(0).choice(index, min(60000, len(index)), replace=False)] = True
    chosen = chosen.reshape(inner.shape)
    slopes = [
        ndimage.gaussian_filter(x, np.maximum(1 / z, 0.5), order=order) / z[axis]
        for axis, order in enumerate(np.eye(3, dtype=int).tolist())
    ]
    tensor = np.array(
        [[ndimage.gaussian_filter(a * b, 3 / z)[chosen] for a in slopes] for b in slopes]
    ).transpose(2, 0, 1)
    e = np.linalg.eigvalsh(tensor)
    coherence = np.median((e[:, 2] - e[:, 1]) / (e[:, 2] + e[:, 1] + 1e-9))
    return coherence, (x - ndimage.gaussian_filter(x, 3 / z))[chosen].std(), np.percentile(x[chosen], 95)


@pytest.mark.parametrize('sizes', [(2.0, 2.0, 2.0), (3.0, 2.0, 4.0)])
def test_structure_is_that_of_its_definition(sizes):
    shape, affine = phantom.grid(sizes)
    values, brain = phantom.head(shape, affine, 1)
    expected = _plain_structure(values, brain, np.array(sizes))
    assert anatomy.structure(values, brain, np.array(sizes)) == pytest.approx(expected, rel=2e-3)


def test_layers_are_coherent_and_grain_is_not(head):
    values, brain, _ = head
    random = np.random.default_rng(0)
    tissue = values > 100
    grain = ndimage.gaussian_filter(random.standard_normal(values.shape).astype(np.float32), 0.8)
    layers = np.sin(np.arange(values.shape[2]) * 0.9)[None, None] * np.ones(values.shape)
    found = []
    for texture in (grain / grain.std(), layers):
        other = np.where(tissue & ~brain, 250 + 60 * texture, values).astype(np.float32)
        found.append(anatomy.structure(other, brain, SIZES))
    assert found[0].coherence < 0.5 < 0.8 < found[1].coherence


def test_a_bare_brain_has_no_structure_to_measure(head):
    values, brain, affine = head
    bare = np.where(brain, values, 0)
    with pytest.raises(ValueError, match='no tissue'):
        anatomy.structure(bare, brain, SIZES)
    found = structure.describe(bare, brain, brain, affine, np.eye(4))
    assert found['coherence'] is None
    assert found['globes'] == 0


def _with_globes(head, radius=12.0, grain=0.0):
    """Spheres that are darker than what is around them, at the places of the eyes."""
    values, brain, affine = head
    world = np.moveaxis(np.indices(values.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    out, unit = values.copy(), np.percentile(values[brain], 75)
    random = np.random.default_rng(0)
    for eye in anatomy.EYES:
        distance = np.linalg.norm(world - np.array(eye) - [2, -3, 4], axis=-1)
        out[distance < radius + 6] = unit
        noise = grain * random.standard_normal(values.shape)
        out = np.where(distance < radius, unit * (0.4 + noise), out)
    return out.astype(np.float32)


def test_globes_are_found_in_fat_and_not_in_grain(head):
    values, brain, affine = head

    def count(volume) -> int:
        return sum(one.found for one in anatomy.globes(volume, brain, affine, np.eye(4)))

    assert count(_with_globes(head)) == 2
    assert count(values) == 0
    assert count(_with_globes(head, grain=0.5)) == 0
    assert [one.diameter_mm for one in anatomy.globes(_with_globes(head), brain, affine, np.eye(4))] == (
        pytest.approx([24, 24], abs=2)
    )


def test_what_the_scan_does_not_cover_is_not_asked_for(head):
    values, brain, affine = head
    part = slice(0, 85)  # ends behind the eyes
    found = anatomy.globes(values[:, part], brain[:, part], affine, np.eye(4))
    assert not any(one.in_fov or one.found for one in found)


def _head_with_ears(relief: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """A box of tissue of 1 mm whose sides carry a relief at the places of the ears; and its affine."""
    shape = (220, 200, 200)
    affine = np.eye(4)
    affine[:3, 3] = -110, -130, -140
    values = np.zeros(shape, np.float32)
    values[30:190, 30:170, 20:180] = 100
    if relief is not None:
        turned = np.radians(90 - ears.YAW_DEG)
        y = np.round((np.arange(relief.shape[0]) - relief.shape[0] / 2) * np.cos(turned)).astype(int)
        for i, dy in enumerate(y):
            for k in range(relief.shape[1]):
                height = round(10 + float(relief[i, k]))
                at = (round(ears.PLACE[1] + 130 + dy), round(ears.PLACE[2] + 140 + k - relief.shape[1] / 2))
                values[190 : 190 + height, at[0] : at[0] + 2, at[1]] = 100
                values[30 - height : 30, at[0] : at[0] + 2, at[1]] = 100
    return values, affine


def test_ears_are_found_on_a_head_that_has_them():
    values, affine = _head_with_ears(ears.mean_ear() * 1.5)
    assert [one.found for one in ears.ears(values, affine, np.eye(4))] == [True, True]
    values, affine = _head_with_ears(None)
    assert [one.found for one in ears.ears(values, affine, np.eye(4))] == [False, False]
    cut = values[60:160]
    affine[0, 3] += 60
    assert not any(one.in_fov for one in ears.ears(cut, affine, np.eye(4)))


def test_the_mean_of_shifted_ears_is_the_ear():
    wide = np.pad(ears.mean_ear(), 40)
    maps = []
    for by in ((0, 0), (2, -3), (-4, 1)):
        starts = [40 - part.start + shift for part, shift in zip(ears.KEPT, by, strict=True)]
        maps.append(wide[tuple(slice(start, start + 2 * ears.REACH_MM + 1) for start in starts)])
    found = ears.average(maps)
    assert np.corrcoef(found.ravel(), ears.mean_ear().ravel())[0, 1] > 0.98


@pytest.fixture
def dataset(tmp_path, head):
    """A head, and outputs that are the head itself and one that is flat."""
    values, brain, affine = head
    values = _with_globes(head)
    for label, out in (('sub-1', values), ('sub-2', np.where(brain | (values < 60), values, 250))):
        raw, made = tmp_path / 'heads' / label / 'anat', tmp_path / 'out' / label / 'anat'
        raw.mkdir(parents=True)
        made.mkdir(parents=True)
        phantom.write(raw / f'{label}_T1w.nii.gz', values, affine)
        phantom.write(made / f'{label}_desc-refaced_T1w.nii.gz', out, affine)
        for name, mask in (('desc-brain_mask', brain), ('mod-T1w_desc-refaced_defacemask', ~brain)):
            nib.Nifti1Image(mask.astype(np.uint8), affine).to_filename(made / f'{label}_{name}.nii.gz')
    rows = 'participant_id\tnotes\tage\nsub-1\tSiemens Trio 3T\t80\nsub-2\tGE\t7\n'
    (tmp_path / 'heads' / 'participants.tsv').write_text(rows)
    return tmp_path


def test_the_command_measures_by_scan_and_scanner_and_goes_on(dataset, monkeypatch, capsys):
    monkeypatch.setattr(structure, 'alignment', lambda *_: np.eye(4))
    argv = [str(dataset / 'heads'), str(dataset / 'out'), '--work', str(dataset / 'work')]
    assert structure.main([*argv, '--json', str(dataset / 'numbers.json')]) == 1  # the flat head
    numbers = json.loads((dataset / 'numbers.json').read_text())
    assert 'sub-1' not in json.dumps(numbers)
    pairs = structure.pairs(dataset / 'heads', dataset / 'out')
    same, flat = (structure.measure(*pair, dataset / 'work') for pair in pairs)
    assert same['coherence'] == same['fine'] == same['bright'] == 1
    assert same['globes'] == same['globes_before'] == 2
    assert not structure.short(same)
    assert 'globes' in structure.short(flat)
    assert numbers['scanner']['Siemens Trio']['short'] == 0
    assert numbers['scanner']['GE']['short'] == 1

    monkeypatch.setattr(structure, 'describe', None)  # nothing is measured again
    assert structure.main(argv) == 1
    assert structure.main([str(dataset / 'heads'), str(dataset / 'work')]) == 1  # nothing to measure
    assert 'no refaced T1w' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('row', 'expected'),
    [
        ({'age': '7'}, 'child'),
        ({'notes': 'M 82 years; other'}, 'elderly'),
        ({'notes': 'F 96, other scanner years'}, 'elderly'),
        ({'notes': 'one woman, F 80 to 84 years'}, 'elderly'),
        ({'notes': 'Trio, M 39y; fiducial'}, 'adult'),
        ({'notes': 'Siemens Trio 3T, 26 years; mouth'}, 'adult'),
        ({'notes': '2 mm and 8-bit'}, 'not known'),
        ({}, 'not known'),
    ],
)
def test_age_groups(row, expected):
    assert groups.age_group(row) == expected


def test_the_scanner_is_that_of_the_sidecar_where_there_is_one(tmp_path):
    folder = tmp_path / 'sub-nc05'
    folder.mkdir()
    scan = folder / 'sub-nc05_T1w.nii.gz'
    phantom.write(scan, np.zeros((4, 4, 4), np.float32), np.diag([1, 1, 1.2, 1]))
    rows = 'participant_id\tperson\tnotes\nsub-nc05\tnc05\tF 96, other scanner years\n'
    (tmp_path / 'participants.tsv').write_text(rows)
    assert groups.find(tmp_path, scan) == groups.Group('nc, another scanner', 'elderly', '1 mm', 'nc05')
    scan.with_name('sub-nc05_T1w.json').write_text(
        '{"Manufacturer": "GE", "ManufacturersModelName": "MR750"}'
    )
    assert groups.find(tmp_path, scan).scanner == 'GE MR750'


def test_the_measure_of_the_harness_says_the_same(dataset):
    anatomy_of = dataset / 'out' / 'sub-2' / 'anat'
    np.savetxt(dataset / 'affine.txt', np.eye(4))
    nib.save(nib.load(anatomy_of / 'sub-2_desc-brain_mask.nii.gz'), dataset / 'kept.nii.gz')
    pair = Pair(
        scan='sub-2_T1w',
        method='cpmae-256',
        original=dataset / 'heads' / 'sub-2' / 'anat' / 'sub-2_T1w.nii.gz',
        output=anatomy_of / 'sub-2_desc-refaced_T1w.nii.gz',
        brain_mask=anatomy_of / 'sub-2_desc-brain_mask.nii.gz',
        kept_mask=dataset / 'kept.nii.gz',
        affine=dataset / 'affine.txt',
        work=dataset / 'run' / 'work' / 'cpmae-256' / 'sub-2_T1w',
    )
    found = measure.measure(pair)
    assert found['globes_before'] == 2
    assert found['globes'] == 0
    assert found['ears'] <= found['ears_before']
    assert measure.measure(pair) == found  # from what was kept
    pooled = measure.pool({'cpmae-256': {'sub-2_T1w': found}}, dataset)
    assert pooled['cpmae-256']['globes_of_originals'][0] == 0
