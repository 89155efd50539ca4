"""The settings of a run: one frozen object that is passed explicitly."""
# ruff: noqa: RUF009  # `option` returns a field, which dataclass makes a default of

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

DEFAULT_STEPS = 12
T1W = 'T1w'
T1W_SUFFIXES = (T1W, 'UNIT1')  # T1w scans by their suffixes; UNIT1 is the uniform image of MP2RAGE
# Contrasts that may be de-identified beside the T1w of a session
ALSO_SUFFIXES = ('T2w', 'FLAIR', 'PDw', 'T2starw')
# Paths that decide which scans are processed, or what becomes of them
DECIDING_PATHS = ('bids_filter_file', 'derivatives', 'weights')


def option(default: Any, text: str, group: str, **more: Any) -> Any:
    """Return a field of `RunConfig` that is an option of the command line; `text` and `group` are for help.

    `more` is what `cpmae_bids.cli.arguments.add_option` cannot tell from the type: ``short`` and ``aliases``
    of the flag, ``kind`` of a text or path, ``choices`` and their ``metavar``, ``minimum`` and ``maximum``.
    """
    return dataclasses.field(default=default, metadata={'help': text, 'group': group, **more})


WHICH, HOW, UPLOAD, SPEED = 'which scans', 'how heads are generated', 'a raw dataset to upload', 'performance'
FOLDERS, RUN, MESSAGES = 'other folders, which hold original voxels', 'the run', 'messages'
GROUPS = (WHICH, HOW, UPLOAD, SPEED, FOLDERS, RUN, MESSAGES)


@dataclass(frozen=True)
class RunConfig:
    """Everything that one call of ``cpmae-bids`` needs to know: its command line, and what is settled later.

    After `cpmae_bids.cli.preflight.preflight`, `device` is not 'auto', and `work_dir`, `seed` and
    `model_hash` are set. `omp_nthreads` is 0 until `cpmae_bids.cli.batches.share_processors` chooses;
    `mem_gb` None means `cpmae_bids.runtime.memory.usable_gb`. Each scan's own seed is derived from `seed`.
    Labels are without ``sub-`` and ``ses-``.
    """

    bids_dir: Path
    output_dir: Path
    analysis_level: Literal['participant', 'group'] = 'participant'
    participant_label: tuple[str, ...] = option(
        (), 'subjects to process, with or without "sub-" (default: all)', WHICH, kind='sub-'
    )
    session_label: tuple[str, ...] = option(
        (), 'sessions to process, with or without "ses-" (default: all)', WHICH, kind='ses-'
    )
    exclude_participant_label: tuple[str, ...] = option(
        (), 'subjects to leave out, with or without "sub-"', WHICH, kind='sub-'
    )
    subject_anatomical_reference: Literal['first', 'sessionwise'] = option(
        'first',
        'reference scan, around whose brain the head is generated: the first of a subject, or of each '
        'session, if the brain changes between sessions (default: %(default)s)',
        HOW,
        kind='reference',
    )
    bids_filter_file: Path | None = option(
        None, 'JSON file with PyBIDS filters, such as {"t1w": {"acquisition": "mprage"}}', WHICH, kind='file'
    )
    derivatives: tuple[Path, ...] = option(
        (),
        'derivatives with brain masks (desc-brain_mask) to use; scans without one are skull-stripped',
        WHICH,
        short='-d',
        kind='derivatives',
    )
    skip_bids_validation: bool = option(
        False, 'do not run the BIDS validator', WHICH, aliases=('--skip-bids-validator',)
    )
    nprocs: int = option(
        1, 'processors that the run uses (default: all available)', SPEED, aliases=('--n-procs',), minimum=1
    )
    omp_nthreads: int = option(
        1,
        'threads of each processing step (default: 1 if scans are processed in parallel, else up to 8)',
        SPEED,
        minimum=1,
    )
    mem_gb: float | None = option(
        None,
        'memory of the whole run (default: 90 %% of what the machine, container or job has)',
        SPEED,
        kind='positive',
    )
    device: Literal['auto', 'cpu', 'cuda'] = option(
        'auto', 'where the models run (default: %(default)s)', SPEED
    )
    n_gpu_procs: int = option(
        1, 'processing steps that may use the GPU at the same time (default: %(default)s)', SPEED, minimum=1
    )
    work_dir: Path | None = option(
        None,
        'intermediate files (default: a private temporary folder, removed afterwards)',
        FOLDERS,
        short='-w',
    )
    preset: Literal['128', '256'] = option(
        '256',
        'resolution at which detail is generated: 256 (1 mm) or 128 (2 mm, faster); the output keeps '
        'the grid of the scan (default: %(default)s)',
        HOW,
    )
    seed: int | None = option(
        None,
        'seed of the dataset (default: that of earlier runs into this output, else drawn)',
        HOW,
        minimum=0,
        maximum=2**63 - 1,  # the largest integer of TOML, and of PyTorch's generators
    )
    steps: int = option(
        DEFAULT_STEPS,
        'refinement iterations of the masked autoencoder (default: %(default)s)',
        HOW,
        minimum=1,
    )
    weights: Path | None = option(
        None, 'folder of weights (default: $CPMAE_BIDS_WEIGHTS, else those of the package)', HOW
    )
    also: tuple[str, ...] = option(
        (),
        'other 3D contrasts to de-identify, with the head of the T1w scans of their subject: '
        f'{", ".join(ALSO_SUFFIXES)}',
        WHICH,
        choices=ALSO_SUFFIXES,
        metavar='SUFFIX',
    )
    also_fill: Literal['head', 'air'] = option(
        'head',
        'what surrounds the brain in other contrasts: the head, or background noise (default: %(default)s)',
        HOW,
    )
    layout: Literal['derivatives', 'bids'] = option(
        'derivatives',
        'bids: also write a raw-like dataset, with de-identified images under the raw names and all '
        'else in the input that may be shared (default: %(default)s)',
        UPLOAD,
    )
    raw_like_dir: Path | None = option(
        None, 'folder of the raw-like dataset (default: "bids" in output_dir)', UPLOAD
    )
    scan_dates: Literal['drop', 'shift'] = option(
        'drop',
        'acquisition dates in it: drop them, or shift all of a subject by the same number of days, so '
        'that the first falls in 1900 to 1919 (default: %(default)s)',
        UPLOAD,
    )
    private_report_dir: Path | None = option(
        None,
        'folder for before/after reports, which show the original face, and for all QC metrics; outside '
        'input and output',
        FOLDERS,
    )
    nipype_plugin_file: Path | None = option(
        None, 'YAML, JSON or TOML file with nipype\'s "plugin" and "plugin_args"', SPEED, kind='file'
    )
    stop_on_first_crash: bool = option(
        False, 'stop after the first failure instead of going on with other scans', RUN
    )
    overwrite: bool = option(False, 'process finished scans again instead of skipping them', WHICH)
    fetch_template: bool = option(
        False, 'let TemplateFlow download the template; no other option opens a connection', HOW
    )
    dry_run: bool = option(
        False, 'list what would be processed, skipped and excluded, and why; write nothing', RUN
    )
    write_graph: bool = option(False, 'draw the workflow into --work-dir', RUN)
    verbose: int = option(0, 'more messages; twice for debugging', MESSAGES, short='-v')

    model_hash: str = ''  # of the weights in use
    temporary_work_dir: bool = False  # whether `work_dir` was made for this run, to be removed at its end

    @property
    def work_folder(self) -> Path:
        """The folder of intermediate files, once it is settled; ValueError before, if none was given."""
        if self.work_dir is None:
            raise ValueError('the work folder must be settled first')
        return self.work_dir

    @property
    def raw_like_folder(self) -> Path:
        """Where the raw-like dataset of a run is, or would be."""
        return self.raw_like_dir or self.output_dir / 'bids'

    def private_page(self, name: str) -> Path | None:
        """Path of the page before/after of the scan of that name; None if a run writes no such pages."""
        return self.private_report_dir and self.private_report_dir / f'{name}.html'

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def includes_subject(self, label: str) -> bool:
        """Whether a run is about a subject, by its label without ``sub-``."""
        asked = not self.participant_label or label in self.participant_label
        return asked and label not in self.exclude_participant_label

    def to_toml(self) -> str:
        """Return the settings as the text of a TOML file that may be shared, without those that are None.

        Paths are left out, since they name users, projects and sometimes patients.
        """
        import tomli_w

        shared = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if Path not in (field.type, *typing.get_args(field.type))
        }
        return tomli_w.dumps({'run': {name: value for name, value in shared.items() if value is not None}})
