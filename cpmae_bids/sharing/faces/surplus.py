"""What a NIfTI file holds besides its image: header extensions, and bytes that no reader looks at."""

from typing import Any

import numpy as np

from cpmae_bids.sharing.faces import contents

BLOCK = 1 << 20  # bytes that are examined after an image: more than a writer's padding


def surplus(image: Any) -> str:
    """Say what else a NIfTI image, its data still in the file, holds that could be a picture, or nothing."""
    import nibabel as nib

    if not isinstance(image, nib.Nifti1Pair):
        return ''
    extensions = image.header.extensions
    data: Any = image.dataobj
    if not all(contents.is_plain(extension.content.rstrip(b'\0')) for extension in extensions):
        return 'a header extension that is not text'
    with nib.openers.ImageOpener(data.file_like) as file:
        if isinstance(image, nib.Nifti1Image):  # header and image in one file
            begin = int(image.header['sizeof_hdr']) + 4 + int(extensions.get_sizeondisk())
            file.seek(begin)
            if any(file.read(max(0, data.offset - begin))):
                return 'data between its header and its image'
        file.seek(data.offset + int(np.prod(data.shape)) * data.dtype.itemsize)
        return 'data after its image' if any(file.read(BLOCK)) else ''
