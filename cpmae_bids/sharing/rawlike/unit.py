"""The content of one unit of the raw-like dataset."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.patterns import split_name
from cpmae_bids.sharing.inventory import DatasetFile


@dataclass
class Unit:
    """Content of a part of the dataset that has its own manifest (`bids.raw_like.unit_of`)."""

    name: str
    # the images that belong there, by path, with what the manifest says of each
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    # those of them that are new or changed: the finished file under its temporary name
    staged: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)  # all other files, by path
    # the verdict record of each de-identified image, by path
    refaced: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: list[DatasetFile] = field(default_factory=list)

    def leave_out(self, entry: DatasetFile, reason: str = '', may_show_face: bool | None = None) -> None:
        """Note why a file of the input is not there."""
        face = entry.may_show_face if may_show_face is None else may_show_face
        self.left_out.append(DatasetFile(entry.path, 'out', reason or entry.reason, face))

    def forget(self, entry: DatasetFile, path: str, reason: str, folder: OutputFolder) -> None:
        """Leave out what was to be in."""
        self.files.pop(path, None)
        self.refaced.pop(path, None)
        temporary = self.staged.pop(path, None)
        if temporary is not None:
            folder.remove(temporary)
        stem = path.partition('.')[0]
        for text in [text for text in self.texts if text.partition('.')[0] == stem]:
            del self.texts[text]
        self.leave_out(entry, reason)


def sidecar_of(path: str) -> str:
    """Path of the sidecar of a file."""
    return path.removesuffix(split_name(path)[2]) + '.json'
