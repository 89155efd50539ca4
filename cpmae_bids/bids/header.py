"""Find text, extensions and time stamps in NIfTI headers, which may name a person, a place or a time."""

import struct
from pathlib import Path
from typing import Any

_TEXT_FIELDS = ('data_type', 'db_name', 'descrip', 'aux_file', 'intent_name')
# Bits of the flag byte of a gzip header: extra field, file name, comment.
_GZIP_FLAGS = {2: 'an extra field', 3: 'a file name', 4: 'a comment'}


def header_leaks(path: Path) -> list[str]:
    """Describe what text fields, extensions and gzip records (name, comment, time) of a NIfTI hold."""
    import nibabel as nb

    leaks = []
    if path.name.endswith('.gz'):
        with path.open('rb') as file:
            _, flags, time = struct.unpack('<3sBI', file.read(8))
        leaks += [f'{what} in gzip' for bit, what in _GZIP_FLAGS.items() if flags & (1 << bit)]
        if time:
            leaks.append('a time stamp in gzip')
    header: Any = nb.load(path).header
    fields = [name for name in _TEXT_FIELDS if name in header]  # NIfTI-2 has fewer
    leaks += [f'text in {name}' for name in fields if header[name].item().strip(b'\0 ')]
    if header.extensions:
        leaks.append('a header extension')
    return leaks
