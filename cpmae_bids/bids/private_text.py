"""Recognise free text, dates, addresses, paths and names, which may not be shared."""

import re
import unicodedata
from collections.abc import Collection
from itertools import pairwise
from math import isfinite

# Longer strings are free text; these patterns are dates, times and addresses inside a short one.
_MAX_TEXT = 64
_DAY = r'(?:0?[1-9]|[12]\d|3[01])'
MONTH = (
    '(?:jan(?:uary?|vier)?|ene(?:ro)?|feb(?:ruary?|braio)?|fev(?:rier)?|mar(?:ch|s|t|z|zo)?|maerz|maart|'
    'apr(?:ile?)?|avr(?:il)?|abr(?:il)?|may|mai|maj|mei|june?|juni|juin|july?|juli|juil(?:let)?|aug(?:ust)?|'
    'aout|ago(?:sto)?|sept?(?:ember|embre)?|o[ck]t(?:ober|obre|ubre)?|nov(?:ember|embre)?|'
    'de[cz](?:ember|embre)?|dic(?:embre|iembre)?)(?![a-z])'
)
_DD, _MM = '(?:0[1-9]|[12][0-9]|3[01])', '(?:0[1-9]|1[0-2])'
# Where homes and the data of projects lie: their folders name people and sites
_ROOTS = (
    r'home\d*|users?|mnt|media|volumes|data\d*|scratch\d*|projects?\d*|work\d*|exports?|root|srv|nas\d*|storage|'
    r'lustre\d*|gpfs\d*|net|tmp|var|groups?|labs?|shares?|archive'
)
_PATH = rf'(?<![\w.:/~>-])/(?:{_ROOTS})/\w|(?<![a-z])file:/|(?<![a-z])[a-z]:[\\/]{{1,2}}\w|(?<!\S)\\\\\w'
_PRIVATE = re.compile(
    r'@|\^(?!-?\d)|\d:\d\d'
    r'|(19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d'  # with or without anything between the numbers
    r'|(?<![\d.])(19|20)\d\d(?P<a>[-/_ ])[01]?\d(?P=a)[0-3]?\d(?![\d.])'
    rf'|(?<![\d.]){_DAY}(?P<b>[-./_ ]){_DAY}(?P=b)(19|20)\d\d(?!\d)'
    rf'|(?<![\d.]){_DAY}(?P<c>[./]){_DAY}(?P=c)\d\d(?![\d./])'
    rf'|(?<![\d.])(?:{_DD}{_MM}|{_MM}{_DD})(19|20)\d\d(?!\d)'
    r'|(?<![\w.])\d{9,}(?!\w)'  # the number of a record, a telephone or a second
    rf'|\d[-._/ ,]*(?:de )?{MONTH}[-._/ ,]*(?:de )?\d'
    rf'|(?<![a-z]){MONTH}[-._/ ,]*\d{{1,2}}[-._/ ,]+(\d\d|(19|20)\d\d)(?!\d)'
    r'|(?<![\d.])\d\d(?P<d>[- ])(0[1-9]|1[0-2])(?P=d)([0-2]\d|3[01])(?!\d)'
    r'|(?<![\d.])([0-2]\d|3[01])(?P<e>[- ])(0[1-9]|1[0-2])(?P=e)\d\d(?!\d)'
    rf'|{_PATH}',
    re.IGNORECASE,
)
# A birthday of six digits: year, month, day; day, month, year; or month, day, year
_SHORT_DATE = re.compile(rf'(?<![\d.])(?:\d\d{_MM}{_DD}|{_DD}{_MM}\d\d|{_MM}{_DD}\d\d)(?!\d|\.\d)')
_FORMULA = re.compile(r'\s*=|\s*[+-].*[(|!]|[\t\r]')  # what a spreadsheet would execute
# In names of software and coils three short numbers with anything between may be a day as well, and numbers
# of two digits and more in a row that of a record
_SPLIT_DAY = re.compile(r'(?<!\d)\d\d[^0-9]+\d\d[^0-9]+(?:\d\d|19\d\d)(?!\d)')
_SPLIT_NUMBER = re.compile(r'\d{2,}(?:[^0-9A-Za-z]+\d{2,})+')
_MAX_SPLIT = 6
_MAX_CODE_LETTERS = 3
_YEAR = re.compile(r'(?:19[0-9]|20[0-4])[0-9](?:\.[0-9]+)?')
# Days as they are counted by spreadsheets from 1900 (1920 to 2050; 1904, SAS, Stata and R are later), by
# MATLAB (1916 to 2053) and by astronomers (1941 to 2050)
_DAYS = ((7306, 54789), (700_000, 750_000), (2_430_000, 2_470_000))
_MISSING = re.compile(r'-.*|[+]?(?:0+|8+|9+)(?:\.0*)?')  # codes for what was not measured
_MIN_RUN = 5  # numbers that follow one another in this many rows count the rows
_TECHNICAL = re.compile(r'[A-Za-z0-9\s_./\\,;:+*()&#-]*')
_NUMBER = re.compile(r'[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?|nan|[+-]?inf', re.IGNORECASE)


def is_number(value: str) -> bool:
    """Whether a text is a number as programs write it: in ASCII, with a point, without separators."""
    return _NUMBER.fullmatch(value) is not None


def is_technical(value: str, words: Collection[str], numbers: bool) -> bool:
    """Whether a text consists of `words` (in lower case) and, if `numbers`, of short numbers and codes.

    These have up to four digits, and up to three letters beside them (E11C). Years of birth, dates and
    numbers in pieces do not count.
    """
    if is_private_text(value) or is_in_pieces(value) or not _TECHNICAL.fullmatch(value):
        return False
    code_letters = 0
    for token in re.findall('[A-Za-z0-9]+', value):
        if token.lower() in words:
            continue
        parts = re.findall('[0-9]+|[A-Z]?[a-z]+|[A-Z]+(?![a-z])', token)
        has_digits = any(part.isdigit() for part in parts)
        for part in parts:
            if part.isdigit():
                is_year = len(part) == 4 and (part[:2] == '19' or (part[:2] == '20' and token.endswith(part)))
                if not numbers or len(part) > 4 or is_year:
                    return False
            elif part.lower() not in words:
                if not numbers or not has_digits or len(part) > 1:
                    return False
                code_letters += 1
    return code_letters <= _MAX_CODE_LETTERS


def is_in_pieces(value: str) -> bool:
    """Whether there is a day, or the number of a record, that other characters divide."""
    long = any(sum(map(str.isdigit, found)) > _MAX_SPLIT for found in _SPLIT_NUMBER.findall(value))
    return long or _SPLIT_DAY.search(value) is not None


def is_private_text(value: str) -> bool:
    """Whether a string looks like free text, a date, a time, an address, a path, a formula or a name."""
    return is_private_number(value) or bool(_SHORT_DATE.search(_plain(value)) or _FORMULA.match(value))


def is_private_number(value: str) -> bool:
    """Whether a number looks like a date or a record; six digits alone do not, as many numbers have them."""
    return len(value) > _MAX_TEXT or names_somebody(value)


def names_somebody(value: str) -> bool:
    """Whether there is a date, a time, an address, a long number, a name as in DICOM or a path in a text."""
    return _PRIVATE.search(_plain(value)) is not None


def holds_path(value: str) -> bool:
    """Whether there is a path of somebody's machine in a text."""
    return re.search(_PATH, value, re.IGNORECASE) is not None


def _plain(value: str) -> str:
    """A text without accents, with the digits of all scripts as 0 to 9."""
    chars = (char for char in unicodedata.normalize('NFKD', value) if not unicodedata.combining(char))
    return ''.join(str(unicodedata.digit(char, char)) for char in chars)


def are_short_dates(cells: Collection[str]) -> bool:
    """Whether the numbers of six digits in a column are birthdays: by chance, one in ten would look so."""
    six = [cell for cell in cells if len(cell) == 6 and cell.isdigit()]
    return 4 * sum(_SHORT_DATE.fullmatch(cell) is not None for cell in six) >= max(len(six), 1)


def are_years(cells: Collection[str]) -> bool:
    """Whether all numbers of a column are years of this century or the last one."""
    numbers = [cell for cell in cells if is_number(cell) and cell.lower() != 'nan']
    return bool(numbers) and all(_YEAR.fullmatch(number) for number in numbers)


def may_count_days(cells: Collection[str]) -> bool:
    """Whether most numbers of a column may be dates, as spreadsheets and programs store them.

    Round numbers and those that count the rows are none.
    """
    numbers = [float(cell) for cell in cells if is_number(cell) and not _MISSING.fullmatch(cell)]
    numbers = [number for number in numbers if isfinite(number)]
    days = [number for number in numbers if _may_be_day(number)]
    if not days or 2 * len(days) < len(numbers):
        return False
    counts_rows = len(numbers) >= _MIN_RUN and all(b - a == 1 for a, b in pairwise(numbers))
    is_round = len({*numbers}) > 1 and all(number % 100 == 0 for number in numbers)
    return not counts_rows and not is_round


def _may_be_day(number: float) -> bool:
    """Whether a number may count days, or be the year and its day (2020001) or month (202001)."""
    if any(low <= number < high for low, high in _DAYS):
        return True
    (year, day), (year_of_month, month) = divmod(int(number), 1000), divmod(int(number), 100)
    is_ordinal = 1900 <= year < 2050 and 1 <= day <= 366
    return is_ordinal or (1900 <= year_of_month < 2050 and 1 <= month <= 12)
