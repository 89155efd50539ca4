"""Networks in the formats of TensorFlow.js, run by torch: a reader of weights, and an interpreter of graphs.

A model is a ``model.json`` with its weights beside it. Of the operations of graph models those are known that
the networks of the benchmark use; another one is an error, never left out.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MODELS = 'CPMAE_BENCHMARK_MODELS'
"""Environment variable: the folder with the networks of others, which `benchmarks.run --models` sets."""


def model_path(*names: str) -> Path:
    """A file in the folder of networks.

    Raises
    ------
    FileNotFoundError
        If no folder is named or the file is not in it.
    """
    folder = os.environ.get(MODELS)
    path = Path(folder or '.', *names)
    if not folder or not path.exists():
        raise FileNotFoundError(f'{path}: not there: --models or {MODELS} names the folder of the networks')
    return path


def read_weights(model: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Topology and weights of a model.

    Parameters
    ----------
    model : Path
        Its JSON file.

    Returns
    -------
    content : dict
        Of the JSON file.
    weights : dict of str to ndarray

    Raises
    ------
    ValueError
        If the binary file is shorter or longer than its manifest says.
    """
    content = json.loads(model.read_text(encoding='utf-8'))
    weights: dict[str, np.ndarray] = {}
    for group in content['weightsManifest']:
        data = b''.join((model.parent / name).read_bytes() for name in group['paths'])
        start = 0
        for entry in group['weights']:
            stored = np.dtype(entry.get('quantization', {}).get('dtype', entry['dtype'])).newbyteorder('<')
            count = math.prod(entry['shape'])
            values = np.frombuffer(data, stored, count, start).reshape(entry['shape'])
            start += values.nbytes
            if stored.kind == 'u':  # quantised linearly
                quantized = entry['quantization']
                values = values * np.float32(quantized['scale']) + np.float32(quantized['min'])
            weights[entry['name']] = values.astype(entry['dtype'])
        if start != len(data):
            raise ValueError(f'{model}: the weights are of another size than the manifest says')
    return content, weights


class Graph:
    """A graph model, channels last, as TensorFlow has it.

    Parameters
    ----------
    model : Path
        Its JSON file.

    Attributes
    ----------
    outputs : list of str
        Nodes of the signature, or else those that no other one takes.
    """

    def __init__(self, model: Path):
        import torch

        content, weights = read_weights(model)
        nodes = content['modelTopology']['node']
        self.nodes = {node['name']: node for node in nodes}
        self.constants = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
        taken = {_source(name) for node in nodes for name in node.get('input', ())}
        ends = [node['name'] for node in nodes if node['name'] not in taken and node['op'] != 'Const']
        signature = content.get('signature', {}).get('outputs', {})
        self.outputs = [_source(entry['name']) for entry in signature.values()] or ends
        (self.entry,) = [node['name'] for node in nodes if node['op'] == 'Placeholder']
        unknown = {node['op'] for node in nodes} - set(OPERATIONS) - {'Const', 'Placeholder'}
        if unknown:
            raise ValueError(f'{model}: operations that are not known: {", ".join(sorted(unknown))}')

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network on one input; arrays by name of the output node.

        Parameters
        ----------
        image : ndarray, shape (batch, rows, columns, channels)
        """
        import torch

        values: dict[str, Any] = dict(self.constants)
        values[self.entry] = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))

        def value(name: str):
            # inputs before what takes them, without recursion: graphs are hundreds of nodes deep
            stack = [name]
            while stack:
                node = self.nodes[stack[-1]]
                inputs = [_source(one) for one in node.get('input', ()) if not one.startswith('^')]
                waiting = [one for one in inputs if one not in values]
                if waiting:
                    stack += waiting
                    continue
                if stack[-1] not in values:
                    run = OPERATIONS[node['op']]
                    values[stack[-1]] = run(node.get('attr', {}), *(values[one] for one in inputs))
                stack.pop()
            return values[name]

        with torch.inference_mode():
            return {name: value(name).numpy() for name in self.outputs}


def _source(name: str) -> str:
    """Node of an input, such as ``node:0`` or ``^node``."""
    return name.removeprefix('^').split(':')[0]


def _numbers(attributes: Mapping, name: str, default: tuple[int, ...] = ()) -> list[int]:
    entry = attributes.get(name, {}).get('list', {}).get('i')
    return [int(one) for one in entry] if entry is not None else list(default)


def _text(attributes: Mapping, name: str, default: str = '') -> str:
    entry = attributes.get(name, {})
    if 's' not in entry:
        return default
    return base64.b64decode(entry['s']).decode()


def _padded(
    x, kernel: tuple[int, int], stride: list[int], dilation: list[int], attributes: Mapping, value=0.0
):
    """Input of a convolution or pooling, channels first, padded as TensorFlow does for ``SAME``."""
    from torch.nn.functional import pad

    mode = _text(attributes, 'padding')
    if mode == 'VALID':
        return x
    if mode != 'SAME':
        raise ValueError(f'padding {mode!r} is not known')
    before_after = []
    for size, edge, step, spread in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        total = max((math.ceil(size / step) - 1) * step + (edge - 1) * spread + 1 - size, 0)
        before_after.append((total // 2, total - total // 2))
    rows, columns = before_after
    return pad(x, (*columns, *rows), value=value)


def _convolve(attributes: Mapping, x, kernel, *, depthwise: bool):
    from torch.nn.functional import conv2d

    x = x.movedim(-1, 1)
    stride = _numbers(attributes, 'strides', (1, 1, 1, 1))[1:3]
    dilation = _numbers(attributes, 'dilations', (1, 1, 1, 1))[1:3]
    x = _padded(x, tuple(kernel.shape[:2]), stride, dilation, attributes)
    if depthwise:  # (rows, columns, channels, multiplier)
        channels = kernel.shape[2]
        weight = kernel.permute(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
        return conv2d(x, weight, stride=stride, dilation=dilation, groups=channels).movedim(1, -1)
    return conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride, dilation=dilation).movedim(1, -1)


def _fused(attributes: Mapping, result, *rest):
    """Bias and activation that a convolution or product brings along."""
    import base64

    names = [
        base64.b64decode(one).decode() for one in attributes.get('fused_ops', {}).get('list', {}).get('s', ())
    ]
    more = list(rest)
    for name in names:
        if name == 'BiasAdd':
            result = result + more.pop(0)
        elif name == 'Prelu':
            result = _prelu({}, result, more.pop(0))
        else:
            result = OPERATIONS[name]({}, result)
    if more:
        raise ValueError(f'inputs of a fused operation that are not known: {names}')
    return result


def _prelu(attributes: Mapping, x, slope):
    return x.clamp(min=0) + slope * x.clamp(max=0)


def _max_pool(attributes: Mapping, x):
    from torch.nn.functional import max_pool2d

    edges, stride = (_numbers(attributes, name)[1:3] for name in ('ksize', 'strides'))
    x = _padded(x.movedim(-1, 1), tuple(edges), stride, [1, 1], attributes, value=-math.inf)
    return max_pool2d(x, edges, stride).movedim(1, -1)


def _pad(attributes: Mapping, x, amounts):
    from torch.nn.functional import pad

    return pad(x, [int(one) for pair in reversed(amounts.tolist()) for one in pair])


def _reduce(name: str) -> Callable:
    def run(attributes: Mapping, x, axes):
        keep = bool(attributes.get('keep_dims', attributes.get('keepdims', {})).get('b', False))
        return getattr(x, name)(dim=[int(one) for one in axes.reshape(-1).tolist()], keepdim=keep)

    return run


def _squeeze(attributes: Mapping, x):
    axes = _numbers(attributes, 'squeeze_dims') or [n for n, size in enumerate(x.shape) if size == 1]
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.squeeze(axis)
    return x


def _product(attributes: Mapping, a, b):
    turned = [attributes.get(name, {}).get('b', False) for name in ('transpose_a', 'transpose_b')]
    return (a.T if turned[0] else a) @ (b.T if turned[1] else b)


OPERATIONS: dict[str, Callable] = {
    'Abs': lambda _, x: x.abs(),
    'Add': lambda _, a, b: a + b,
    'AddV2': lambda _, a, b: a + b,
    'BiasAdd': lambda _, a, b: a + b,
    'Conv2D': lambda attributes, x, kernel: _convolve(attributes, x, kernel, depthwise=False),
    'DepthwiseConv2dNative': lambda attributes, x, kernel: _convolve(attributes, x, kernel, depthwise=True),
    'FusedDepthwiseConv2dNative': lambda attributes, x, kernel, *rest: _fused(
        attributes, _convolve(attributes, x, kernel, depthwise=True), *rest
    ),
    'Identity': lambda _, x: x,
    'MatMul': _product,
    'MaxPool': _max_pool,
    'Maximum': lambda _, a, b: a.maximum(b),
    'Mean': _reduce('mean'),
    'Minimum': lambda _, a, b: a.minimum(b),
    'Mul': lambda _, a, b: a * b,
    'Pad': _pad,
    'Prelu': _prelu,
    'Relu': lambda _, x: x.clamp(min=0),
    'Relu6': lambda _, x: x.clamp(0, 6),
    'Reshape': lambda _, x, shape: x.reshape([int(one) for one in shape.tolist()]),
    'Rsqrt': lambda _, x: x.rsqrt(),
    'Sigmoid': lambda _, x: x.sigmoid(),
    'Softmax': lambda _, x: x.softmax(-1),
    'Square': lambda _, x: x * x,
    'Squeeze': _squeeze,
    'Sub': lambda _, a, b: a - b,
    'Sum': _reduce('sum'),
    '_FusedConv2D': lambda attributes, x, kernel, *rest: _fused(
        attributes, _convolve(attributes, x, kernel, depthwise=False), *rest
    ),
    '_FusedMatMul': lambda attributes, a, b, *rest: _fused(attributes, _product(attributes, a, b), *rest),
}
"""What a node does: ``operation(attributes, *inputs)``."""
