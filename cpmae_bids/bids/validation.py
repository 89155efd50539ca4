"""Run the BIDS validator."""

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cpmae_bids.exceptions import CpmaeError
from cpmae_bids.runtime.content import is_elsewhere

logger = logging.getLogger(__name__)
_COMMAND = 'bids-validator-deno'
_MESSAGE_LENGTH = 120  # characters of what the validator says that are shown
_SHOWN_ISSUES = 5
_EXIT_VALID, _EXIT_ERRORS = 0, 16


class ValidatorMissingError(CpmaeError):
    """The validator is not installed or does not run."""


@dataclass(frozen=True)
class Issue:
    """One issue of the validator: where (with a leading slash), field or rule (`detail`), and what."""

    code: str
    location: str
    detail: str
    message: str = ''

    def __str__(self) -> str:
        text = ' '.join(part for part in (self.code, self.detail, self.location) if part)
        return f'{text} ({self.message})' if self.message else text


def validate_bids(dataset: Path) -> list[Issue]:
    """Run the BIDS validator, offline, and return the errors that it finds.

    Raises ValidatorMissingError if the validator is not installed, or ends without a report.
    """
    # Beside the interpreter first: an environment need not be activated to be used.
    command = shutil.which(_COMMAND, path=str(Path(sys.executable).parent)) or shutil.which(_COMMAND)
    if command is None:
        raise ValidatorMissingError(f'{_COMMAND} is not installed; install it, or skip the validation')
    arguments = [command, str(dataset), '--format', 'json', '--ignoreWarnings']
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    try:
        if result.returncode not in (_EXIT_VALID, _EXIT_ERRORS):
            raise ValueError(f'exit code {result.returncode}')
        found = json.loads(result.stdout)['issues']['issues']
    except (ValueError, KeyError, TypeError) as err:
        raise ValidatorMissingError(
            f'{_COMMAND} gave no report ({err}: {result.stderr[-300:]}); skip the validation'
        ) from err
    return [
        Issue(
            code=issue.get('code', ''),
            location=issue.get('location', ''),
            detail=issue.get('subCode') or issue.get('rule') or '',
            message=' '.join((issue.get('issueMessage') or '').split())[:_MESSAGE_LENGTH],
        )
        for issue in found
        if issue.get('severity') == 'error'
    ]


def count_errors(dataset: Path, unchecked: str) -> int:
    """Count the validator's errors and log the first ones; without a validator log `unchecked`, return 0.

    A file whose content was not fetched yet is no fault of the dataset, and named where its turn comes.
    """
    try:
        issues = validate_bids(dataset)
    except ValidatorMissingError as err:
        logger.warning('%s: %s', unchecked, err)
        return 0
    issues = [issue for issue in issues if not is_elsewhere(dataset / issue.location.lstrip('/'))]
    for issue in issues[:_SHOWN_ISSUES]:
        logger.error('%s', issue)
    return len(issues)
