"""Does the masked autoencoder use context? Validation loss per level with all, half and a tenth masked.

    python -m benchmarks.mae_losses PREPARED FOLDER

PREPARED is the file of ``cpmae-bids-train prepare``; FOLDER that of ``cpmae-bids-train mae``, whose cached
codes give the unigram: the frequencies of codes at each site. Nats per code, on heads left out of training.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.scans import write_result
from cpmae_bids.models.weights import load_model, resolve_weights
from cpmae_bids.training.data import read_prepared
from cpmae_bids.training.tokens import corpus, find_shapes, load_tokens
from cpmae_bids.training.train_mae import Conditions, validate


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('prepared', type=Path)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--threads', type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    weights = resolve_weights(args.weights)
    mae, head, brain = (load_model(weights, name) for name in ('mae', 'head', 'brain'))
    heads = read_prepared(args.prepared)
    cache = args.folder / f'tokens-{head.code_hash()}-{brain.code_hash()}'
    displacements = find_shapes(head, heads, cache / 'displacements.safetensors')
    validation = corpus(heads, displacements, head, 'validation').encode_plain(head, brain)
    training = load_tokens(cache)
    losses = validate(mae, Conditions(validation, head, brain), training)
    first = head.volumes - len(head.levels)
    used = {
        f'head{k}': round(len(validation[f'head{k}'].unique()) / head.config.codebook, 3)
        for k in range(first, head.volumes)
    }
    result = {
        'model_hash': weights.model_hash,
        'validation_heads': len(validation['head0']),
        'training_codes_of_heads': len(training['head0']),
        'nats_per_code': {f'head{level}': scores for level, scores in losses.items()},
        'codes_used_by_validation_heads': used,
    }
    print(json.dumps(result, indent=1))
    write_result('mae_losses', result)


if __name__ == '__main__':
    main()
