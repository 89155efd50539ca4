"""Arguments of the commands: options of `RunConfig`, and the types that argparse lacks; light to import."""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from cpmae_bids._version import __version__
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import EXIT_USAGE

# Fields of `RunConfig` that are options; the others are arguments, or what the pre-flight settles
OPTIONS: dict[str, Field] = {field.name: field for field in fields(RunConfig) if 'help' in field.metadata}


class Parser(argparse.ArgumentParser):
    """A parser that ends with the exit code of wrong use, and knows both spellings of a flag."""

    origin = ''  # where arguments come from, if not from the command line; to begin messages with

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument('--version', action='version', version=f'cpmae-bids {__version__}')

    def error(self, message: str) -> NoReturn:
        # the usage would fill the screen, and hide what is wrong
        self.exit(EXIT_USAGE, f'{self.prog}: {self.origin}{message}; {self._advice(message)}\n')

    def _advice(self, message: str) -> str:
        """Options that an unknown one may have meant, or where all of them are listed."""
        for word in message.split():
            known = [option for option in self._option_string_actions if option.startswith('--')]
            near = get_close_matches(word.partition('=')[0], known, 1) if word.startswith('--') else []
            if message.startswith('unrecognized') and near:
                return f'did you mean {near[0]}?'
        return f'see {self.prog} --help'


def flag(*names: str) -> list[str]:
    """Return flags with dashes, and the same with underscores, as BIDS Apps have both."""
    return [
        spelling for name in names for spelling in dict.fromkeys([name, '--' + name[2:].replace('-', '_')])
    ]


def add_option(parser: argparse._ActionsContainer, name: str, **changes: Any) -> None:
    """Add an option of `RunConfig` under both spellings, with `changes` for argparse, such as ``help``."""
    field = OPTIONS[name]
    more, kind = field.metadata, field.type
    names = [
        *filter(None, [more.get('short')]),
        *flag('--' + name.replace('_', '-'), *more.get('aliases', ())),
    ]
    arguments: dict[str, Any] = {'help': more['help'], 'default': field.default}
    if name == 'verbose':
        arguments['action'] = 'count'
    elif kind is bool:
        arguments['action'] = 'store_true'
    elif get_origin(kind) is Literal:
        arguments['choices'] = get_args(kind)
    if isinstance(field.default, tuple):
        arguments |= {'nargs': '+', 'action': 'extend', 'default': []}
    if Path in (kind, *get_args(kind)):
        arguments |= {'type': path, 'metavar': 'DIR'}
    if 'minimum' in more:
        arguments |= {'type': integer(more['minimum'], more.get('maximum')), 'metavar': 'N'}
    if 'kind' in more:
        arguments['type'], arguments['metavar'] = _TYPES[more['kind']]
    arguments |= {key: more[key] for key in ('metavar', 'choices') if key in more}
    parser.add_argument(*names, **arguments | changes)


def path(text: str) -> Path:
    """Make a path absolute without following links: a linked dataset keeps the names that it shows."""
    if not text:
        raise argparse.ArgumentTypeError('an empty path')
    try:
        found = Path(os.path.abspath(Path(text).expanduser()))
    except RuntimeError:
        raise argparse.ArgumentTypeError(f'{text}: no such home folder; give the path in full') from None
    except OSError:
        message = f'{text}: relative to a folder that is gone; change to another, or give the path in full'
        raise argparse.ArgumentTypeError(message) from None
    try:
        found.resolve()
    except RuntimeError:
        raise argparse.ArgumentTypeError(f'{text}: a link that leads to itself; remove it') from None
    return found


def file(text: str) -> Path:
    found = path(text)
    if not found.is_file():
        raise argparse.ArgumentTypeError(f'no such file: {text}')
    return found


def derivatives(text: str) -> Path:
    """Take a folder of derivatives, with or without the name that fMRIPrep wants before it."""
    name, equals, rest = text.partition('=')
    found = path(rest if equals and re.fullmatch(r'[\w.-]+', name) else text)
    if not found.is_dir():
        raise argparse.ArgumentTypeError(f'no such folder: {text}')
    return found


def label_of(prefix: str) -> Callable[[str], str]:
    """Return an argument type that takes a label with or without its prefix."""

    def label(text: str) -> str:
        value = text.removeprefix(prefix)
        if not re.fullmatch('[0-9A-Za-z+]+', value):
            raise argparse.ArgumentTypeError(f'not a label: {text!r}')
        return value

    return label


def integer(minimum: int, maximum: int | None) -> Callable[[str], int]:
    """Return an argument type of integers within bounds; there may be no upper one."""
    bounds = f'of at least {minimum}' if maximum is None else f'from {minimum} to {maximum}'

    def bounded(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum or (maximum is not None and value > maximum):
            raise argparse.ArgumentTypeError(f'must be an integer {bounds}, not {text!r}')
        return value

    return bounded


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'must be a positive number, not {text!r}')
    return value


# Types of the kinds of options, and what stands for their values in the help
_TYPES: dict[str, tuple[Callable[[str], Any], str | None]] = {
    'sub-': (label_of('sub-'), 'LABEL'),
    'ses-': (label_of('ses-'), 'LABEL'),
    'file': (file, 'FILE'),
    'derivatives': (derivatives, '[PACKAGE=]PATH'),
    'positive': (positive, 'GB'),
    'reference': (lambda text: text.removesuffix('-lex'), None),  # as fMRIPrep spells it
}
