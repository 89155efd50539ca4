"""The error messages of the package, as they are written in its source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / 'cpmae_bids'
ERRORS = {
    *('CpmaeError', 'InputError', 'UsageError', 'NothingToDoError', 'WeightsError', 'TemplateError'),
    *('VerdictError', 'ValidatorMissingError', 'OutsideError'),
}


def messages() -> dict[str, str]:
    """Return what every error that a user can act on says, and the module that raises it.

    What differs from case to case is an ellipsis; the file that a message begins with is left out.
    """
    found = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        for call in _errors(ast.parse(path.read_text('utf-8'))):
            found.setdefault(template(call.args[0]), path.relative_to(PACKAGE).as_posix())
    return {text: where for text, where in found.items() if re.search('[a-z]{3}', text)}


def _errors(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            function = node.exc.func
            if isinstance(function, ast.Name) and function.id in ERRORS:
                yield node.exc


def template(node: ast.expr) -> str:
    """Return the text of a string or f-string, with an ellipsis for each value."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [str(part.value) if isinstance(part, ast.Constant) else '…' for part in parts]
    return re.sub(r'^…: ', '', ''.join(texts))
