"""From a scan to its refaced version and the verdict on it."""

from __future__ import annotations

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import engine as pe

from cpmae_bids.bids.layout import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.interfaces.models import Decode, Encode, Remodel
from cpmae_bids.interfaces.preprocess import Conform, Register, SkullStrip
from cpmae_bids.interfaces.result import Blend, Verdict

# What the scheduler sets aside for the process of each step, in GB: about twice the peak that was measured on
# a scan of 176 x 256 x 256 voxels of 1 mm with the preset 256, since finer scans take more.
MEM_GB = {
    'skullstrip': 2.5,
    'register': 1.0,
    'conform': 1.2,
    'encode_brain': 1.0,
    'encode_head': 1.0,
    'remodel': 1.5,
    'decode_head': 1.2,
    'blend': 1.0,
    'verdict': 1.5,
}


def init_deidentify_wf(scan: Scan, config: RunConfig, *, name: str = 'deidentify_wf') -> pe.Workflow:
    """Build the graph that gives a scan another head.

    The codes of the original head go to the verdict alone. What generates the new head sees the codes of the
    brain and a seed: no path leads from the original head to it.

    Parameters
    ----------
    scan : Scan
        ``path``, ``relative_path`` and ``seed`` are used.
    config : RunConfig
        ``preset``, ``steps``, ``weights``, ``model_hash``, ``device``, ``omp_nthreads``, ``fetch_template``.
    name : str
        Name of the workflow.

    Returns
    -------
    workflow : nipype.Workflow

    Outputs
    -------
    refaced
        The scan with the generated head, on its own grid.
    deface_mask
        What was replaced.
    kept_mask
        What was kept: the brain and a guard rim.
    verdict
        JSON file with status, reasons and measures.
    """
    t1w = str(scan.path)
    preset = {'preset': config.preset}
    drawn = {'seed': scan.seed}
    refinement = {'steps': config.steps}
    models = {'model_hash': config.model_hash}
    if config.weights is not None:
        models['weights'] = str(config.weights)

    def node(interface, name):
        on_gpu = 'use_gpu' in interface.inputs.traits() and config.device != 'cpu'
        if on_gpu:
            interface.inputs.trait_set(device=config.device, use_gpu=True)
        # A node takes as many GPU slots as it has processes, so one on a GPU may have one only.
        n_procs = 1 if on_gpu else config.omp_nthreads
        return pe.Node(interface, name=name, n_procs=n_procs, mem_gb=MEM_GB[name])

    skullstrip = node(SkullStrip(t1w=t1w), 'skullstrip')
    register = node(Register(t1w=t1w, fetch_template=config.fetch_template), 'register')
    conform = node(Conform(t1w=t1w, **preset), 'conform')
    encode_brain = node(Encode(which='brain', **models), 'encode_brain')
    encode_head = node(Encode(which='head', **models), 'encode_head')
    remodel = node(Remodel(**models, **drawn, **refinement), 'remodel')
    decode_head = node(Decode(**models, **preset, **drawn), 'decode_head')
    blend = node(Blend(t1w=t1w, **drawn), 'blend')
    verdict = node(
        Verdict(
            t1w=t1w,
            scan=scan.relative_path,
            model_hash=config.model_hash,
            **preset,
            **drawn,
            **refinement,
        ),
        'verdict',
    )
    outputnode = pe.Node(
        IdentityInterface(fields=['refaced', 'deface_mask', 'kept_mask', 'verdict']), name='outputnode'
    )

    workflow = pe.Workflow(name=name)
    workflow.connect([
        (skullstrip, register, [('brain_mask', 'brain_mask')]),
        (skullstrip, conform, [('brain_mask', 'brain_mask')]),
        (register, conform, [('affine', 'affine')]),
        (conform, encode_brain, [('brain', 'conformed')]),
        (conform, encode_head, [('head', 'conformed')]),
        (encode_brain, remodel, [('codes', 'brain_codes')]),
        (remodel, decode_head, [('head_codes', 'head_codes')]),
        (skullstrip, blend, [('kept_mask', 'kept_mask')]),
        (register, blend, [('affine', 'affine')]),
        (conform, blend, [('brain', 'conformed')]),
        (decode_head, blend, [('head', 'head')]),
        (skullstrip, verdict, [('brain_mask', 'brain_mask'), ('kept_mask', 'kept_mask')]),
        (register, verdict, [('affine', 'affine')]),
        (conform, verdict, [('brain', 'conformed')]),
        (remodel, verdict, [('head_codes', 'generated_codes')]),
        (encode_head, verdict, [('codes', 'original_codes')]),
        (blend, verdict, [('refaced', 'refaced'), ('deface_mask', 'deface_mask')]),
        (skullstrip, outputnode, [('kept_mask', 'kept_mask')]),
        (blend, outputnode, [('refaced', 'refaced'), ('deface_mask', 'deface_mask')]),
        (verdict, outputnode, [('verdict', 'verdict')]),
    ])  # fmt: skip
    return workflow
