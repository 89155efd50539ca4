"""The settings of a run: one frozen object that is passed explicitly."""

import dataclasses
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

PRESET_NAMES = ('128', '256')
DEFAULT_STEPS = 12

T1W = 'T1w'
T1W_SUFFIXES = (T1W, 'UNIT1')
"""T1w scans by their suffixes; UNIT1 is the uniform image of MP2RAGE."""
ALSO_SUFFIXES = ('T2w', 'FLAIR', 'PDw', 'T2starw')
"""Contrasts that may be de-identified beside the T1w of a session."""


SETTLED = ('bids_dir', 'output_dir', 'analysis_level', 'model_hash', 'temporary_work_dir')
"""Settings that are no options of the command line: its arguments, and what the pre-flight settles."""

DECIDING_PATHS = ('bids_filter_file', 'derivatives', 'weights')
"""Paths that decide which scans are processed, or what becomes of them."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that one call of ``cpmae-bids`` needs to know.

    The first group holds the command line. The second is settled before any work starts, by
    `cpmae_bids.cli.preflight.preflight`; until then its fields hold their defaults.

    Parameters
    ----------
    bids_dir, output_dir : Path
        The dataset to read and the derivatives dataset to write.
    analysis_level : {'participant', 'group'}
    participant_label, session_label : tuple of str
        Labels without ``sub-`` and ``ses-``; empty means all.
    exclude_participant_label : tuple of str
        Subjects to leave out.
    subject_anatomical_reference : {'first', 'sessionwise'}
        Whose brain the head of a scan is generated around: that of the first T1w scan of its subject, or of
        its session.
    bids_filter_file : Path, optional
        JSON file with extra pybids query terms under the key ``t1w``.
    derivatives : tuple of Path
        Datasets of derivatives to take brain masks from.
    skip_bids_validation : bool
    nprocs, omp_nthreads : int
        Processes at a time, and threads of each; 0 threads: see `cpmae_bids.cli.process.share_processors`.
    mem_gb : float, optional
        Memory that the whole run may take, in GB; None means `cpmae_bids.runtime.memory.usable_gb`.
    device : {'auto', 'cpu', 'cuda'}
        Where the models run; never 'auto' after the pre-flight.
    n_gpu_procs : int
        Nodes that may use the GPU at the same time.
    work_dir : Path, optional
        Folder of intermediate files, which hold original pixels.
    preset : {'128', '256'}
        Resolution at which detail is drawn: 128 (2 mm) or 256 (1 mm).
    seed : int, optional
        Seed of the dataset; each scan's own is derived from it and the subject label.
    steps : int
        Refinement steps of the masked autoencoder.
    weights : Path, optional
        Folder of weights to use instead of the packaged ones.
    also : tuple of str
        Suffixes of further contrasts to de-identify, of `ALSO_SUFFIXES`.
    also_fill : {'head', 'air'}
        What lies around the brain in them: the generated head, or noise.
    layout : {'derivatives', 'bids'}
        Whether to write a raw-like dataset besides the derivatives.
    raw_like_dir : Path, optional
        Its folder; None means ``bids`` in the output.
    scan_dates : {'drop', 'shift'}
        What becomes of dates of acquisition in it.
    private_report_dir : Path, optional
        Folder for before/after reports, which show the original face.
    nipype_plugin_file : Path, optional
        YAML, JSON or TOML file with nipype's ``plugin`` and ``plugin_args``.
    stop_on_first_crash, overwrite : bool
    fetch_template : bool
        Allow TemplateFlow to download the template when it is not cached.
    dry_run : bool
        Say what would be done, and do nothing.
    write_graph : bool
        Draw the workflow into `work_dir`.
    verbose : int
        Number of ``-v`` given.
    model_hash : str
        Hash of the weights in use.
    temporary_work_dir : bool
        Whether `work_dir` was made for this run, to be removed at its end.
    """

    bids_dir: Path
    output_dir: Path
    analysis_level: Literal['participant', 'group'] = 'participant'
    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    exclude_participant_label: tuple[str, ...] = ()
    subject_anatomical_reference: Literal['first', 'sessionwise'] = 'first'
    bids_filter_file: Path | None = None
    derivatives: tuple[Path, ...] = ()
    skip_bids_validation: bool = False
    nprocs: int = 1
    omp_nthreads: int = 1
    mem_gb: float | None = None
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    n_gpu_procs: int = 1
    work_dir: Path | None = None
    preset: Literal['128', '256'] = '256'
    seed: int | None = None
    steps: int = DEFAULT_STEPS
    weights: Path | None = None
    also: tuple[str, ...] = ()
    also_fill: Literal['head', 'air'] = 'head'
    layout: Literal['derivatives', 'bids'] = 'derivatives'
    raw_like_dir: Path | None = None
    scan_dates: Literal['drop', 'shift'] = 'drop'
    private_report_dir: Path | None = None
    nipype_plugin_file: Path | None = None
    stop_on_first_crash: bool = False
    overwrite: bool = False
    fetch_template: bool = False
    dry_run: bool = False
    write_graph: bool = False
    verbose: int = 0

    model_hash: str = ''
    temporary_work_dir: bool = False

    @property
    def work_folder(self) -> Path:
        """The folder of intermediate files, once it is settled.

        Raises
        ------
        ValueError
            Before the pre-flight, if none was given.
        """
        if self.work_dir is None:
            raise ValueError('the work folder must be settled first')
        return self.work_dir

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def is_about_some_subjects(self) -> bool:
        """Whether labels restrict the run to a part of the subjects."""
        return bool(self.participant_label or self.exclude_participant_label)

    def includes_subject(self, label: str) -> bool:
        """Whether a run is about a subject, by its label without ``sub-``."""
        asked = not self.participant_label or label in self.participant_label
        return asked and label not in self.exclude_participant_label

    def to_dict(self, *, with_paths: bool = True) -> dict[str, Any]:
        """Return the settings as plain TOML types, without those that are None.

        Parameters
        ----------
        with_paths : bool
            False leaves out every path: the form for files that are shared, since paths name
            users, projects and sometimes patients.
        """
        settings = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None or (_is_path(field.type) and not with_paths):
                continue
            if isinstance(value, tuple):
                value = [str(item) for item in value]
            settings[field.name] = str(value) if isinstance(value, Path) else value
        return settings

    def to_toml(self, *, with_paths: bool = True) -> str:
        """Return the settings as the text of a TOML file; see `to_dict` for `with_paths`."""
        import tomli_w

        return tomli_w.dumps({'run': self.to_dict(with_paths=with_paths)})

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read what `to_toml` wrote.

        Raises
        ------
        TypeError
            If a setting is unknown, or ``bids_dir`` or ``output_dir`` is missing.
        tomllib.TOMLDecodeError
            If the text is not TOML.
        """
        settings = tomllib.loads(text).get('run', {})
        for field in dataclasses.fields(cls):
            if field.name in settings:
                value = settings[field.name]
                kind = Path if _is_path(field.type) else str
                if isinstance(value, list):
                    settings[field.name] = tuple(kind(item) for item in value)
                elif kind is Path:
                    settings[field.name] = Path(value)
        return cls(**settings)


def _is_path(annotation: Any) -> bool:
    """Whether a field's type is Path, an optional Path or a tuple of them."""
    return annotation is Path or Path in typing.get_args(annotation)
