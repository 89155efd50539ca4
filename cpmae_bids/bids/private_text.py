"""Recognise free text, dates, addresses and names, which may not be shared."""

import re
from collections.abc import Collection

# Longer strings are free text; these patterns are dates, times and addresses inside a short one.
_MAX_TEXT = 64
_DAY = r'(?:0?[1-9]|[12]\d|3[01])'
MONTH = (
    '(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|'
    'oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)(?![a-z])'
)
PRIVATE_TEXT = re.compile(
    r'@|\^|\d:\d\d'
    r'|(19|20)\d\d[-./]?[01]\d[-./]?[0-3]\d'  # with or without anything between the numbers
    r'|(?<![\d.])(19|20)\d\d(?P<a>[-/_ ])[01]?\d(?P=a)[0-3]?\d(?![\d.])'
    rf'|(?<![\d.]){_DAY}(?P<b>[-./_ ]){_DAY}(?P=b)(19|20)\d\d(?!\d)'
    rf'|(?<![\d.]){_DAY}(?P<c>[./]){_DAY}(?P=c)\d\d(?![\d./])'
    rf'|\d[-._/ ,]*{MONTH}[-._/ ,]*\d'
    rf'|(?<![a-z]){MONTH}[-._/ ,]*\d{{1,2}}[-._/ ,]+(\d\d|(19|20)\d\d)(?!\d)'
    r'|(?<![\d.])\d\d(?P<d>[- ])(0[1-9]|1[0-2])(?P=d)([0-2]\d|3[01])(?!\d)'
    r'|(?<![\d.])([0-2]\d|3[01])(?P<e>[- ])(0[1-9]|1[0-2])(?P=e)\d\d(?!\d)',
    re.IGNORECASE,
)
_DD, _MM = '(?:0[1-9]|[12][0-9]|3[01])', '(?:0[1-9]|1[0-2])'
# A birthday of six digits: year, month, day; day, month, year; or month, day, year
_SHORT_DATE = re.compile(rf'(?<![\d.])(?:\d\d{_MM}{_DD}|{_DD}{_MM}\d\d|{_MM}{_DD}\d\d)(?!\d|\.\d)')
# What a spreadsheet would execute
_FORMULA = re.compile(r'\s*=|\s*[+-].*[(|!]|[\t\r]')
# In names of software and coils three short numbers with anything between may be a day as well
_SPLIT_DAY = re.compile(r'(?<!\d)\d\d[^0-9A-Za-z]\d\d[^0-9A-Za-z]\d\d(?!\d)')
_TECHNICAL = re.compile(r'[A-Za-z0-9\s_./\\,;:+*()&#-]*')


def is_technical(value: str, words: Collection[str], numbers: bool) -> bool:
    """Whether a text consists of known words and, if these are allowed, of short numbers and codes like E11C.

    Parameters
    ----------
    value : str
    words : collection of str
        In lower case.
    numbers : bool
        Whether there may be numbers of up to four digits, with two letters that are no word beside them.
        Numbers that may be years of birth, and dates, are none.
    """
    if is_private_text(value) or _SPLIT_DAY.search(value) or not _TECHNICAL.fullmatch(value):
        return False
    for token in re.findall('[A-Za-z0-9]+', value):
        if token.lower() in words:
            continue
        parts = re.findall('[0-9]+|[A-Z]?[a-z]+|[A-Z]+(?![a-z])', token)
        has_digits = any(part.isdigit() for part in parts)
        for part in parts:
            if part.isdigit():
                is_year = len(part) == 4 and part[:2] in ('19', '20') and token.endswith(part)
                if not numbers or len(part) > 4 or is_year:
                    return False
            elif part.lower() not in words and not (numbers and has_digits and len(part) < 3):
                return False
    return True


def is_private_text(value: str) -> bool:
    """Whether a string looks like free text, a date, a time, an address, a formula or a name in DICOM."""
    return is_private_number(value) or bool(_SHORT_DATE.search(value) or _FORMULA.match(value))


def is_private_number(value: str) -> bool:
    """Whether a number looks like a date; six digits alone do not, as numbers often have as many."""
    return len(value) > _MAX_TEXT or PRIVATE_TEXT.search(value) is not None


def are_short_dates(cells: Collection[str]) -> bool:
    """Whether the numbers of six digits in a column are birthdays: by chance, one in ten would look so."""
    six = [cell for cell in cells if len(cell) == 6 and cell.isdigit()]
    return 4 * sum(_SHORT_DATE.fullmatch(cell) is not None for cell in six) >= max(len(six), 1)
