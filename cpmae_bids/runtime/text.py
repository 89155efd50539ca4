"""Texts that people read."""


def one_line(text: str) -> str:
    """Return a text without line ends and control characters, which names of files may hold."""
    return ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
