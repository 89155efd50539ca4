"""Remove paths of the machine from messages: logs in the output are shared."""

import re
import tempfile
from pathlib import Path

from cpmae_bids.config import RunConfig


def hide_paths(text: str, config: RunConfig) -> str:
    """Replace the folders of a run by their roles, since logs in the output are shared."""
    roles = {
        '<output>': config.output_dir,
        '<work>': config.work_dir,
        '<input>': config.bids_dir,
        '<weights>': config.weights,
        '<private reports>': config.private_report_dir,
        '<raw-like>': config.raw_like_dir,
        '<home>': Path.home(),
        '<temporary>': Path(tempfile.gettempdir()),
    }
    folders = [*((path, role) for role, path in roles.items() if path)]
    folders += [(path, '<derivatives>') for path in config.derivatives]
    forms = [(str(form), role) for path, role in folders for form in (path, path.resolve())]
    for form, role in sorted(forms, key=lambda item: -len(item[0])):
        if len(form) > 1:
            # The whole of it, not the end of another path or the beginning of a longer name
            text = re.sub(rf'(?<![\w.-])(?:(?<=://)|(?<!/)){re.escape(form)}(?![\w-])', role, text)
    return _OTHER_PATH.sub('<path>', text)


_IN_PATH = r"(?:[^\n'\":;,<>()/]|(?<=\w)'(?=\w))"
# An absolute path of two parts or more, that follows on none of the roles
_OTHER_PATH = re.compile(
    # In quotation marks to their end; else to the last slash of the clause, as folders have blanks in their
    # names, and on to what looks like the end of a file name, or to the colon of "path: reason"
    r"""(?<=')/[^'\n]*/[^'\n]*(?=')|(?<=")/[^"\n]*/[^"\n]*(?=")|file:/[^\s'"]*|"""
    rf"""(?<![\w>/.:])//?(?:{_IN_PATH}+/)+"""
    rf"""(?:{_IN_PATH}*?\.[A-Za-z]\w{{0,9}}(?:\.gz)?(?!\w)|{_IN_PATH}*(?=: )|[^\s'":;,<>()/]*)"""
)
