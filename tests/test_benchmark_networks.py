"""Networks of others do what their files say, and what they find is counted as it should be."""

import base64
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import humanfaces, meshnet, run, tfjs
from benchmarks.measures import attackers, hdbet, hippocampus
from benchmarks.measures import meshnet as meshnet_measure
from benchmarks.pairs import GALLERY

RANDOM = np.random.default_rng(0)


def _text(value: str) -> dict:
    return {'s': base64.b64encode(value.encode()).decode()}


def _numbers(*values: int) -> dict:
    return {'list': {'i': [str(value) for value in values]}}


def _model(path: Path, nodes: list[dict], weights: dict[str, np.ndarray], **more) -> Path:
    manifest = [
        {'name': name, 'shape': list(value.shape), 'dtype': str(value.dtype)}
        for name, value in weights.items()
    ]
    data = b''.join(value.tobytes() for value in weights.values())
    path.with_suffix('.bin').write_bytes(data)
    content = {
        'modelTopology': {'node': nodes},
        'weightsManifest': [{'paths': [path.with_suffix('.bin').name], 'weights': manifest}],
        **more,
    }
    path.write_text(json.dumps(content))
    return path


def _convolution(op: str, kernel: str, stride: int, **more) -> dict:
    attributes = {'strides': _numbers(1, stride, stride, 1), 'padding': _text('SAME'), **more}
    return {'name': 'out', 'op': op, 'input': ['x', kernel], 'attr': attributes}


PLACEHOLDER = {'name': 'x', 'op': 'Placeholder', 'attr': {}}


def _plain_same(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME convolution, voxel by voxel: what is left over is padded at the end."""
    size, edge = image.shape[0], kernel.shape[0]
    out = -(-size // stride)
    total = max((out - 1) * stride + edge - size, 0)
    padded = np.pad(image, ((total // 2, total - total // 2),) * 2 + ((0, 0),))
    found = np.zeros((out, out, kernel.shape[3]))
    for row, column in np.ndindex(out, out):
        part = padded[row * stride : row * stride + edge, column * stride : column * stride + edge]
        found[row, column] = np.tensordot(part, kernel, 3)
    return found


@pytest.mark.parametrize(('size', 'edge', 'stride'), [(7, 3, 1), (8, 3, 2), (7, 3, 2), (8, 5, 2)])
def test_a_convolution_is_that_of_tensorflow(tmp_path, size, edge, stride):
    kernel = RANDOM.standard_normal((edge, edge, 2, 3)).astype(np.float32)
    model = _model(
        tmp_path / 'm.json', [PLACEHOLDER, _const('k'), _convolution('Conv2D', 'k', stride)], {'k': kernel}
    )
    image = RANDOM.standard_normal((size, size, 2)).astype(np.float32)
    found = tfjs.Graph(model)(image[None])['out'][0]
    assert found == pytest.approx(_plain_same(image, kernel, stride), abs=1e-4)


def _const(name: str) -> dict:
    return {'name': name, 'op': 'Const', 'attr': {}}


def test_a_depthwise_convolution_keeps_channels_apart_and_brings_its_bias_along(tmp_path):
    kernel = RANDOM.standard_normal((3, 3, 2, 1)).astype(np.float32)
    bias = np.array([1, -2], np.float32)
    fused = {'list': {'s': [_text('BiasAdd')['s'], _text('Relu')['s']]}}
    node = _convolution('FusedDepthwiseConv2dNative', 'k', 1, fused_ops=fused)
    node['input'].append('b')
    model = _model(
        tmp_path / 'm.json', [PLACEHOLDER, _const('k'), _const('b'), node], {'k': kernel, 'b': bias}
    )
    image = RANDOM.standard_normal((6, 6, 2)).astype(np.float32)
    expected = np.concatenate(
        [_plain_same(image[..., c : c + 1], kernel[:, :, c : c + 1], 1) for c in (0, 1)], axis=2
    )
    assert tfjs.Graph(model)(image[None])['out'][0] == pytest.approx(np.maximum(expected + bias, 0), abs=1e-4)


def test_the_outputs_of_the_signature_count_even_where_another_node_takes_them(tmp_path):
    nodes = [
        PLACEHOLDER,
        {'name': 'a', 'op': 'Abs', 'input': ['x'], 'attr': {}},
        {'name': 'b', 'op': 'Sigmoid', 'input': ['a'], 'attr': {}},
    ]
    signature = {'outputs': {'features': {'name': 'a:0'}, 'p': {'name': 'b:0'}}}
    found = tfjs.Graph(_model(tmp_path / 'm.json', nodes, {}, signature=signature))(np.full((1, 2, 2, 1), -3))
    assert (found['a'] == 3).all()
    assert found['b'] == pytest.approx(1 / (1 + np.exp(-3)))


def test_what_is_not_known_or_damaged_is_an_error(tmp_path, monkeypatch):
    nodes = [PLACEHOLDER, {'name': 'y', 'op': 'Einsum', 'input': ['x'], 'attr': {}}]
    with pytest.raises(ValueError, match='Einsum'):
        tfjs.Graph(_model(tmp_path / 'm.json', nodes, {}))
    model = _model(tmp_path / 'n.json', [PLACEHOLDER], {'k': np.ones(5, np.float32)})
    model.with_suffix('.bin').write_bytes(bytes(24))
    with pytest.raises(ValueError, match='another size'):
        tfjs.read_weights(model)
    monkeypatch.delenv(tfjs.MODELS, raising=False)
    with pytest.raises(FileNotFoundError, match='--models'):
        tfjs.model_path('brainchop')
    assert set(run.lacking(['meshnet', 'attackers', 'brain'])) == {'meshnet', 'attackers'}


# -- MeshNet -----------------------------------------------------------------------------------------------
@pytest.fixture
def network(tmp_path, monkeypatch) -> meshnet.MeshNet:
    """A network of two layers: a mean over dilated neighbours, then brighter or darker than a half."""
    folder = tmp_path / 'brainchop' / 'tiny'
    folder.mkdir(parents=True)
    layers = [
        ('InputLayer', {'name': 'input'}),
        ('Conv3D', {'name': 'c', 'dilation_rate': [2, 2, 2]}),
        ('Activation', {'activation': 'relu'}),
        ('Conv3D', {'name': 'output', 'dilation_rate': [1, 1, 1]}),
    ]
    weights = {
        'c/kernel': np.full((3, 3, 3, 1, 1), 1 / 27, np.float32),
        'c/bias': np.zeros(1, np.float32),
        'output/kernel': np.array([-1, 1], np.float32).reshape(1, 1, 1, 1, 2),
        'output/bias': np.array([0.5, -0.5], np.float32),
    }
    _model(folder / 'model.json', [], weights)
    content = json.loads((folder / 'model.json').read_text())
    config = {'layers': [{'class_name': kind, 'config': one} for kind, one in layers]}
    content['modelTopology'] = {'model_config': {'config': config}}
    (folder / 'model.json').write_text(json.dumps(content))
    monkeypatch.setenv(tfjs.MODELS, str(tmp_path))
    meshnet._layers.cache_clear()
    return meshnet.MeshNet('tiny', 2)


@pytest.mark.parametrize('quantiles', [False, True])
def test_a_meshnet_labels_what_it_learnt_and_only_around_the_brain(network, quantiles):
    network = dataclasses.replace(network, quantiles=quantiles)
    conformed = np.zeros((64,) * 3, np.uint8)
    conformed[20:40, 20:40, 20:40] = 200
    conformed[50:] = 200  # enough of it for a percentile
    conformed[0, 0, 0] = 255
    brain = np.zeros_like(conformed, bool)
    brain[28:32, 28:32, 28:32] = True
    labels = meshnet.segment(conformed, brain, network)
    assert (labels[23:37, 23:37, 23:37] == 1).all()
    assert not labels[:9].any()
    assert labels[28:32, 28:32, :].sum(axis=2).max() <= 20


def test_the_conformed_image_has_the_axes_of_freesurfer():
    values = np.zeros((40, 50, 60), np.float32)
    values[30, 10, 50] = 100  # right, back and up of the middle
    conformed, to_voxels = meshnet.conform(values, np.diag([2.0, 2, 2, 1]))
    (at,) = np.argwhere(conformed == conformed.max())[:1]
    middle = meshnet.EDGE // 2
    assert at[0] < middle
    assert at[1] < middle
    assert at[2] < middle
    assert to_voxels @ [*at, 1] == pytest.approx([30, 10, 50, 1], abs=0.6)


def test_class_averaged_dice_counts_small_regions_as_much_as_large_ones():
    before = np.zeros(1000, np.uint8)
    before[:100], before[100:110] = 1, 2
    after = before.copy()
    after[100:110] = 0
    assert meshnet.mean_dice(before, before, 4) == 1
    assert meshnet.mean_dice(before, after, 4) == pytest.approx(0.5)
    assert meshnet.mean_dice(before * 0, after * 0, 4) is None


# -- faces -------------------------------------------------------------------------------------------------
def test_anchors_are_the_middles_of_their_cells():
    found = humanfaces.anchors()
    assert found.shape == (896, 2)
    assert found[:3].tolist() == [[8, 8], [8, 8], [24, 8]]
    assert found[512].tolist() == [16, 16]
    assert found[-1].tolist() == [240, 240]


def test_a_similarity_takes_points_where_they_belong():
    turn = 1.7 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    target = humanfaces.ALIGNED @ turn.T + [5, -7]
    matrix = humanfaces.similarity(humanfaces.ALIGNED, target)
    assert matrix == pytest.approx(np.column_stack([turn, [5, -7]]))


def test_a_crop_says_where_its_pixels_come_from():
    picture = np.zeros((100, 100), np.float32)
    picture[40, 62] = 1
    square, matrix = humanfaces.crop(picture, np.array([60.0, 45.0]), 30, 0.4, 90)
    row, column = np.unravel_index(square.argmax(), square.shape)
    assert matrix @ [column, row, 1] == pytest.approx([62, 40], abs=0.5)


def _meshes(count: int, spread: float = 1.0) -> np.ndarray:
    """Faces of three ways to differ, each at a place, size and turn of its own."""
    base = np.random.default_rng(7).standard_normal((468, 3)) * [40, 60, 20]
    modes = np.random.default_rng(8).standard_normal((3, 468, 3))
    scores = spread * RANDOM.standard_normal((count, 3))
    shapes = base + np.tensordot(scores, modes, 1)
    return shapes * RANDOM.uniform(0.8, 1.2, (count, 1, 1)) + RANDOM.normal(0, 30, (count, 1, 3))


def test_odd_faces_are_told_from_usual_ones_by_their_shape_alone():
    known = _meshes(60)
    usual, odd = (
        humanfaces.shape_distances(known, _meshes(30)),
        humanfaces.shape_distances(known, _meshes(30, 8)),
    )
    assert np.median(usual) < 1.5
    assert np.median(odd) > 3 * np.median(usual)
    broken = _meshes(5) + RANDOM.normal(0, 5, (5, 468, 3))
    assert humanfaces.shape_distances(known, broken).min() > np.percentile(usual, 99)


def test_plausible_meshes_are_those_of_people():
    meshes = {('original', str(n)): mesh for n, mesh in enumerate(_meshes(30))}
    meshes |= {(GALLERY, str(n)): mesh for n, mesh in enumerate(_meshes(30))}
    meshes |= {('cpmae-256', str(n)): mesh for n, mesh in enumerate(_meshes(10))}
    meshes |= {('radveil', str(n)): mesh for n, mesh in enumerate(_meshes(10, 20))}
    meshes |= {('skullstrip', '0'): np.full((468, 3), np.nan)}
    found = attackers.plausible(meshes)
    assert found['original']['mesh_plausible'][0] > 0.9
    assert found['cpmae-256']['mesh_plausible'][0] > 0.7
    assert found['radveil']['mesh_plausible'][0] < 0.4
    assert found['skullstrip']['mesh_plausible'][0] == found['skullstrip']['mesh_frontal'][0] == 0
    assert GALLERY not in found


def test_further_recognisers_search_like_the_first(tmp_path):
    values: dict = {'original': {}, GALLERY: {}, 'cpmae-256': {}, 'perturbed': {}}
    for n in range(12):
        own = RANDOM.standard_normal(8)
        for method, kept in (('original', 1.0), ('perturbed', 0.95), ('cpmae-256', 0.0), (GALLERY, 0.0)):
            embedding = kept * own + (1 - kept) * RANDOM.standard_normal(8)
            face = humanfaces.Face(_meshes(1)[0], dict.fromkeys(humanfaces.RECOGNISERS, embedding))
            scan = f'sub-g{n}_T1w' if method == GALLERY else f'sub-{n}_T1w'
            values[method][scan] = {}
            folder = tmp_path / 'work' / method / scan
            folder.mkdir(parents=True)
            faces = [face] * 5 if n or method != 'cpmae-256' else [None] * 5
            np.savez(folder / 'attackers.npz', **attackers.summary(faces))
    found = attackers.pool(values, tmp_path)
    assert found['original']['mobileface_rank1'][0] == 1
    assert found['perturbed']['faceres_rank1'][0] > 0.9
    assert found['cpmae-256']['mobileface_auc'][0] < 0.8
    assert found['cpmae-256']['mobileface_with_face'][0] == pytest.approx(11 / 12)
    assert found['original']['mobileface_living_probes'] == 0


@pytest.mark.slow
def test_the_networks_themselves_can_be_read():
    """With the networks at hand."""
    try:
        for parts in (*attackers.NEEDS_MODELS, *meshnet_measure.NEEDS_MODELS):
            tfjs.model_path(*parts)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert humanfaces.find_face(np.zeros((256, 256), np.uint8)) is None
    for name in humanfaces.FILES:
        assert humanfaces.graph(name).outputs
    for network in meshnet.NETWORKS:
        assert len(meshnet._layers(network.folder)[-1][1]) == network.classes


# -- other tools -------------------------------------------------------------------------------------------
@pytest.mark.parametrize('axes', ['RAS', 'LPI', 'ASR'])
def test_hd_bet_sees_axes_as_itk_hands_them_over(axes):
    import phantom

    shape, affine = phantom.grid((6.0, 5.0, 4.0), axes)
    values = RANDOM.random(shape).astype(np.float32)
    turned, sizes, back = hdbet.to_itk(values, affine)
    assert sizes == pytest.approx([4, 5, 6])
    assert np.array_equal(back(turned), values)
    marked = np.zeros(shape, np.float32)
    voxel = np.rint(np.linalg.inv(affine) @ [50, 60, 70, 1])[:3].astype(int)  # right, front and top
    marked[tuple(voxel)] = 1
    at = np.argwhere(hdbet.to_itk(marked, affine)[0])[0] / np.array(turned.shape)
    assert at[0] > 0.5  # up
    assert at[1] < 0.5  # to the back
    assert at[2] < 0.5  # to the left


def test_hippocampi_are_compared_by_volume(tmp_path, monkeypatch):
    import nibabel as nib

    from benchmarks.pairs import Pair

    class Module:
        @staticmethod
        def segment_hippocampus(path):
            image = nib.load(path)
            half = np.zeros(image.shape, np.uint8)
            half[5:10, 5:10, 5:10] = 255
            if 'output' in path:
                half[5] = 0
            return nib.Nifti1Image(half, image.affine), nib.Nifti1Image(half * 0, image.affine)

    monkeypatch.setattr(hippocampus, 'hippodeep', lambda: Module)
    for name in ('original', 'output'):
        nib.Nifti1Image(np.ones((20, 20, 20), np.int16), np.diag([2, 2, 2, 1])).to_filename(
            tmp_path / f'{name}.nii'
        )
    pair = Pair(
        'a',
        'cpmae-256',
        tmp_path / 'original.nii',
        tmp_path / 'output.nii',
        *[tmp_path / 'x'] * 3,
        work=tmp_path / 'out' / 'work' / 'cpmae-256' / 'a',
    )
    found = hippocampus.measure(pair)
    assert found['volume_ml'] == pytest.approx(100 * 8 / 1000)
    assert found['volume_change'] == pytest.approx(-20)
    assert found['dice'] == pytest.approx(200 / 225)
