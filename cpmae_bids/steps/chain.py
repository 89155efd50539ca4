"""All steps one after another, in one process: one scan in, one scan out, no BIDS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from cpmae_bids.config import DEFAULT_STEPS
from cpmae_bids.exceptions import CpmaeError, InputError, VerdictError
from cpmae_bids.runtime import scratch


def deidentify(
    t1w: Path,
    out: Path,
    *,
    seed: int,
    preset: Literal['128', '256'] = '256',
    steps: int = DEFAULT_STEPS,
    weights: Path | None = None,
    device: str = 'cpu',
    work_dir: Path | None = None,
    fetch_template: bool = False,
    verdict_file: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> dict:
    """De-identify one scan; the refaced scan (`out`) appears only if it passes QC.

    `seed` is that of the generated head and the noise, `preset` the resolution at which detail is generated,
    `steps` the number of refinement rounds. `work_dir` keeps the intermediate files, which show the original
    head; by default they lie in a private temporary folder. `fetch_template` lets TemplateFlow download the
    template, `verdict_file` is where to write the public form of the verdict, pass or fail, and `progress` is
    called with the name of each step before it starts.

    Returns the verdict (`cpmae_bids.steps.verdict.verdict`) with all numbers, some of which are about the
    original head. Raises VerdictError if the result does not pass, another CpmaeError if a step fails.
    """
    from cpmae_bids.bids.atomic import crc32_of, write_text
    from cpmae_bids.bids.jsontext import to_json
    from cpmae_bids.bids.verdict_records import public_form
    from cpmae_bids.deid.qc import scan_checks
    from cpmae_bids.models.weights import resolve_weights
    from cpmae_bids.steps import blend, conform, decode, encode, register, remodel, skullstrip, verdict
    from cpmae_bids.templates import find_template

    # What can fail in the first second does
    found = resolve_weights(weights)
    find_template(fetch_template)
    models: dict[str, Any] = {'weights': found.directory, 'device': device}
    if work_dir is not None:
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = scratch.make(work_dir)

    brain_mask, kept_mask = folder / 'brain_mask.nii.gz', folder / 'kept_mask.nii.gz'
    affine, brain, head = folder / 'affine.txt', folder / 'brain.npz', folder / 'head.npz'
    statistics = folder / 'statistics.json'
    brain_codes, head_codes = folder / 'brain_codes.npz', folder / 'head_codes.npz'
    original_codes, generated = folder / 'original_codes.npz', folder / 'generated.npz'
    refaced, deface_mask = folder / f'refaced{"".join(out.suffixes[-1:])}', folder / 'deface_mask.nii.gz'
    noise_model = folder / 'noise_model.json'
    try:
        scan_checks.load_t1w(t1w)  # refuses what cannot be read
        before = crc32_of(t1w)
        progress('skullstrip')
        skullstrip.skullstrip(t1w, brain_mask, kept_mask, device=device)
        progress('register')
        register.register(t1w, brain_mask, affine, fetch_template=fetch_template)
        progress('conform')
        conform.conform(t1w, brain_mask, affine, brain, head, statistics)
        progress('encode')
        encode.encode(brain, brain_codes, 'brain', **models)
        encode.encode(head, original_codes, 'head', **models)  # for the verdict alone
        progress('remodel')
        remodel.remodel(brain_codes, head_codes, seed=seed, steps=steps, weights=found.directory)
        progress('decode')
        decode.decode(head_codes, brain, generated, preset, seed=seed, **models)
        progress('blend')
        written = refaced, deface_mask, noise_model
        blend.blend(t1w, kept_mask, affine, brain, seed, *written, generated, statistics)
        progress('verdict')
        judged = verdict.verdict(
            t1w,
            refaced,
            deface_mask,
            brain_mask,
            kept_mask,
            affine,
            brain,
            noise_model,
            folder / 'verdict.json',
            generated_codes=head_codes,
            original_codes=original_codes,
            statistics=statistics,
            preset=preset,
            seed=seed,
            steps=steps,
            model_hash=found.model_hash,
        )
        if verdict_file is not None:  # it will lie beside the image, and be shared with it
            write_text(verdict_file, to_json(public_form(judged)))
        if judged['status'] != 'pass':
            raise VerdictError(f'{t1w}: no image was written: {"; ".join(judged["reasons"])}')
        if judged['source_crc32'] != before or crc32_of(t1w) != before:
            raise InputError(f'{t1w}: was changed while it was processed: run again')
        _publish(refaced, out)
    finally:
        if work_dir is None:
            scratch.remove(folder)
    return judged


def _publish(source: Path, target: Path) -> None:
    """Copy a file so that it appears under its name only when it is complete."""
    from cpmae_bids.bids.output_folder import OutputFolder

    try:
        OutputFolder(target.parent).write(target.name, source.read_bytes())
    except OSError as error:
        reason = error.strerror or error
        raise CpmaeError(f'{target}: cannot be written ({reason}): check space and permissions') from error
