"""Write the files of one subject into the raw-like dataset."""

import json
import os
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from cpmae_bids._version import __version__
from cpmae_bids.bids.atomic import sha256_of
from cpmae_bids.bids.columns import column_of_events, descriptions_of, left_behind
from cpmae_bids.bids.jsontext import to_json
from cpmae_bids.bids.metadata import shareable_metadata
from cpmae_bids.bids.output_folder import OutputFolder, OutsideError
from cpmae_bids.bids.patterns import IMAGE_EXTENSIONS, output_path, split_name
from cpmae_bids.bids.private_paths import hide_paths
from cpmae_bids.bids.raw_like import raw_name, unit_of
from cpmae_bids.bids.sidecars import applicable_files, read_sidecars
from cpmae_bids.bids.source_checks import changed_source, sources_of
from cpmae_bids.bids.tsv import Table
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError
from cpmae_bids.runtime.content import unreadable
from cpmae_bids.runtime.packaged import packaged_json
from cpmae_bids.sharing.inventory import DatasetFile
from cpmae_bids.sharing.rawlike.commit import commit, is_inside
from cpmae_bids.sharing.rawlike.folder_tables import place_folder_table, shift_of_dates
from cpmae_bids.sharing.rawlike.images import copy_image, copy_numbers, is_copy, is_numeric
from cpmae_bids.sharing.rawlike.manifest import read_manifest
from cpmae_bids.sharing.rawlike.unit import Unit, sidecar_of

# Tables that lie beside an image of that suffix, or apply to it from above.
_ASSOCIATED = {'bold': 'events', 'asl': 'aslcontext'}
_ENTITIES_OF_EVENTS = ('sub', 'ses', 'task', 'acq', 'ce', 'rec', 'dir', 'run')
# What the sidecar of a derivative says and that of a raw image does not.
_FIELDS_OF_DERIVATIVES = ('Sources', 'SkullStripped', 'Description', 'GeneratedBy')
_FIELDS_OF_RECORDS = ('files',)


class Subject:
    """Writes the files of one subject, by the name of its folder, into the dataset.

    `entries` are all files of the subject in the input, `written` the units that earlier runs have written of
    it, `records` the verdict records of the output by the paths of their scans, and `config` has a seed;
    `shows_face` is as of `build.write_raw_like`. After `write`, ``left_out`` has the files that are not in
    the dataset, and why; ``failures`` is how many of them should have been.
    """

    def __init__(
        self,
        name: str,
        entries: Collection[DatasetFile],
        written: Collection[str],
        records: dict[str, dict[str, Any]],
        dataset: Path,
        config: RunConfig,
        shows_face: Callable[[Path], str] | None = None,
    ) -> None:
        self.name, self.entries, self.written = name, entries, written
        self.records, self.dataset, self.config, self.shows_face = records, dataset, config, shows_face
        self.folder = OutputFolder(dataset)
        self.left_out: list[DatasetFile] = []
        self.failures = 0

    def write(self) -> None:
        """Write the files, and remove those of earlier runs that do not belong there any more."""
        units = {name: Unit(name) for name in self._unit_names()}
        try:
            for entry in self.entries:
                if (name := unit_of(entry.path)) in units:
                    self._place(entry, units[name])
            for unit in units.values():
                self._write_texts(unit)
            self._announce(any(unit.files or unit.texts for unit in units.values()))
            # The folder of the subject itself names its sessions: it comes last.
            for name in sorted(units, key=lambda name: '_ses-' not in name):
                unit = units[name]
                self._write_folder_tables(unit)
                self._commit(unit)
                self.left_out += unit.left_out
        finally:
            for unit in units.values():
                for temporary in unit.staged.values():
                    self.folder.remove(temporary)
            for place, _, _ in os.walk(self.dataset / self.name, topdown=False):
                self.folder.remove_if_empty(Path(place))

    def _commit(self, unit: Unit) -> None:
        try:
            commit(self.dataset, unit)
        except OutsideError as err:
            self.failures += 1
            place = DatasetFile(f'{unit.name.replace("_", "/")}/', 'out')
            unit.leave_out(place, hide_paths(str(err), self.config), True)

    def _unit_names(self) -> list[str]:
        """The units that a run may change: of the sessions that it is about, and of the subject itself."""
        sessions = {*self.written, *(unit_of(entry.path) for entry in self.entries)} - {self.name}
        wanted = self.config.session_label
        kept = {name for name in sessions if not wanted or name.rpartition('_ses-')[2] in wanted}
        return [*sorted(kept), self.name]

    def _announce(self, will_be_there: bool) -> None:
        """Remove participants.tsv where a subject comes or goes: it must name all of them, and no other."""
        if will_be_there != (self.dataset / self.name).is_dir():
            self.folder.remove('participants.tsv')

    # Images and tables

    def _place(self, entry: DatasetFile, unit: Unit) -> None:
        """Put one file of the input where it belongs, or on the list of those that are left out."""
        record = self.records.get(entry.path)
        try:
            if record is not None and record['status'] == 'pass':
                self._place_refaced(entry, record, unit)
            elif record is not None:
                reasons = '; '.join(record.get('reasons') or ['no reason is recorded'])
                unit.leave_out(entry, f'{record["status"]}: {reasons}', True)
            elif entry.role == 'image':
                self._copy_image(entry, unit)
            elif entry.role == 'table':
                self._copy_table(entry, unit)
            elif entry.role == 'out':
                unit.leave_out(entry)
        except InputError as err:
            self._fail(entry, raw_name(entry.path), str(err), unit)

    def _fail(self, entry: DatasetFile, path: str, reason: str, unit: Unit) -> None:
        self.failures += 1
        unit.forget(entry, path, hide_paths(reason, self.config), self.folder)

    def _place_refaced(self, entry: DatasetFile, record: dict[str, Any], unit: Unit) -> None:
        path, files = raw_name(entry.path), record.get('files') or {}
        source = str(output_path(entry.path, 'refaced'))
        if source not in files:
            raise InputError('its record names no de-identified image; run this scan again')
        for name in sources_of(record):
            if problem := unreadable(self.config.bids_dir / name):
                raise InputError(f'{name}: {problem}')
        if changed := changed_source(record, self.config, if_unknown=False):
            raise InputError(f'{changed} has changed since; run this scan again')
        sidecar = source.removesuffix(IMAGE_EXTENSIONS[0]) + '.json'
        derivative = self.config.output_dir / source
        gone = InputError('its output is missing or has changed since; run this scan again')
        try:
            content = (self.config.output_dir / sidecar).read_bytes()
            if sha256_of(self.config.output_dir / sidecar) != files.get(sidecar):
                raise gone
            self._stage(path, files[source], unit, lambda file: file.write(derivative.read_bytes()))
        except OSError as err:
            if not derivative.is_file():
                raise gone from err
            raise
        if path in unit.staged and sha256_of(unit.staged[path]) != files[source]:
            raise gone
        unit.files[path] = {'sha256': files[source]}
        unit.refaced[path] = {key: value for key, value in record.items() if key not in _FIELDS_OF_RECORDS}
        described_how = {k: v for k, v in json.loads(content).items() if k not in _FIELDS_OF_DERIVATIVES}
        unit.texts[sidecar_of(path)] = to_json(described_how).encode()

    def _stage(self, path: str, sha256: str, unit: Unit, make: Callable[[IO[bytes]], Any]) -> None:
        """Make a file under a temporary name, unless the one that is there has that hash."""
        target = self.dataset / path
        if target.is_file() and not target.is_symlink() and sha256 and sha256_of(target) == sha256:
            return
        self._announce(True)
        self.folder.remove_temporaries(path)
        unit.staged[path] = self.folder.stage(path, make)

    def _copy_image(self, entry: DatasetFile, unit: Unit) -> None:
        source = self.config.bids_dir / entry.path
        if problem := unreadable(source):
            raise InputError(problem)
        read_sidecars(self.config.bids_dir, entry.path)  # or there is no use in copying it
        manifest, known = read_manifest(self.dataset, unit.name), ''
        if manifest['version'] == __version__:  # another one may have another idea of what is shared
            known = (manifest['files'].get(entry.path) or {}).get('sha256', '')
            known = known if is_copy(source, self.dataset / entry.path) else ''
        if not known and self.shows_face is not None and (how := self.shows_face(source)):
            unit.leave_out(entry, f'a face was found in it ({how})', True)
            return
        self._stage(entry.path, known, unit, lambda file: copy_image(source, file))
        made = unit.staged.get(entry.path)
        unit.files[entry.path] = {'sha256': sha256_of(made) if made else known}

    def _copy_table(self, entry: DatasetFile, unit: Unit) -> None:
        source = self.config.bids_dir / entry.path
        if problem := unreadable(source):
            raise InputError(problem)
        sidecar = read_sidecars(self.config.bids_dir, entry.path)
        if entry.path.endswith('.gz'):
            unit.texts[entry.path] = copy_numbers(source)
            named = sidecar.get('Columns')
            columns = [str(name) for name in named] if isinstance(named, list) else []
        else:
            columns = self._scrub_recording(entry, source, entry.path, unit)
        content = shareable_metadata(sidecar, _more_fields()) | descriptions_of(columns, sidecar)
        if content:
            unit.texts[sidecar_of(entry.path)] = to_json(content).encode()

    def _scrub_recording(self, entry: DatasetFile, source: Path, path: str, unit: Unit) -> list[str]:
        table, left = Table.load(source).mapped(column_of_events)
        if left:
            unit.leave_out(entry, left_behind(left), False)
        unit.texts[path] = table.text().encode()
        return table.columns

    # Sidecars and what else belongs to images

    def _write_texts(self, unit: Unit) -> None:
        for path in list(unit.files):
            if path in unit.refaced:
                continue
            entry = DatasetFile(path, 'image')
            try:
                metadata = read_sidecars(self.config.bids_dir, path)
                content = shareable_metadata(metadata, _more_fields())
                if targets := self._intended_for(metadata.get('IntendedFor'), unit):
                    content['IntendedFor'] = targets
                if content:
                    unit.texts[sidecar_of(path)] = to_json(content).encode()
                self._write_associated(path, unit)
            except InputError as err:
                self._fail(entry, path, str(err), unit)

    def _intended_for(self, value: Any, unit: Unit) -> list[str]:
        """The images that a field map is for, as far as they are in the dataset."""
        kept = []
        for target in value if isinstance(value, list) else [value]:
            if not isinstance(target, str):
                continue
            path = target.removeprefix('bids::') if target.startswith('bids::') else f'{self.name}/{target}'
            for name in (path, raw_name(path)):
                # Those of other sessions are there already, or come with the next run.
                if name in unit.files or (is_inside(name) and os.path.isfile(self.dataset / name)):
                    kept.append(f'bids::{name}')
                    break
        return kept

    def _write_associated(self, path: str, unit: Unit) -> None:
        """Write what applies to an image from its own folder or from above: gradients, events, contexts."""
        entities, suffix, extension = split_name(path)
        stem = path.removesuffix(extension)
        if suffix == 'dwi':
            for kind in ('.bval', '.bvec'):
                for source in applicable_files(self.config.bids_dir, path, suffix, kind)[-1:]:
                    if problem := unreadable(source):
                        raise InputError(f'{source.name}: {problem}')
                    content = source.read_bytes()
                    if not is_numeric(content):
                        raise InputError(f'{source.name}: holds more than numbers')
                    unit.texts[stem + kind] = content
        if (table := _ASSOCIATED.get(suffix)) is None:
            return
        entities = {key: label for key, label in entities.items() if key in _ENTITIES_OF_EVENTS}
        name = '_'.join([*(f'{key}-{label}' for key, label in entities.items()), f'{table}.tsv'])
        target = str(PurePosixPath(path).with_name(name))
        for source in applicable_files(self.config.bids_dir, path, table, '.tsv')[-1:]:
            if source.parent == (self.config.bids_dir / path).parent or target in unit.texts:
                continue  # which is copied by itself
            entry = DatasetFile(target, 'table')
            columns = self._scrub_recording(entry, source, target, unit)
            if told := descriptions_of(columns, read_sidecars(self.config.bids_dir, target)):
                unit.texts[sidecar_of(target)] = to_json(told).encode()

    # Tables of scans and sessions

    def _write_folder_tables(self, unit: Unit) -> None:
        for entry in self.entries:
            if entry.role == 'folder-table' and unit_of(entry.path) == unit.name:
                try:
                    shift = self._shift if self.config.scan_dates == 'shift' else None
                    place_folder_table(entry, unit, self.entries, self.dataset, self.config, shift)
                except InputError as err:
                    self._fail(entry, entry.path, str(err), unit)

    @cached_property
    def _shift(self) -> timedelta | None:
        return shift_of_dates(self.name.removeprefix('sub-'), self.entries, self.config)


def _more_fields() -> dict[str, str]:
    return packaged_json('sharing')['sidecar_fields']
