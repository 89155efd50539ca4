"""The import contract: rooms import those below them, and the sanitiser is entered by its doors alone."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / 'cpmae_bids'
# Rooms in one line do not import each other.
LAYERS = (
    'cli',
    'workflows sharing training',
    'interfaces',
    'steps',
    'reports',
    'bids phantom',
    'models templates',
    'deid.qc',
    'deid.synthesis',
    'deid.space',
    'deid.images',
    'runtime',
    'config exceptions _version',
)
LEVELS = {room: level for level, rooms in enumerate(LAYERS) for room in rooms.split()}
DOORS = {'faces.search', 'faces.recogniser', 'privacy.attacks', 'inventory', 'rawlike.build', 'rawlike.dates'}


def imported() -> dict[str, set[str]]:
    """What each module of the package imports of it, late imports included, by names within the package."""
    names = {path: path.relative_to(PACKAGE).with_suffix('').parts for path in PACKAGE.rglob('*.py')}
    modules = {'.'.join(parts).removesuffix('__init__').rstrip('.'): path for path, parts in names.items()}
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, ast.ImportFrom) and f'{node.module}.'.startswith('cpmae_bids.'):
                place = f'{node.module}'.removeprefix('cpmae_bids').lstrip('.')
                inner = {f'{place}.{alias.name}'.lstrip('.') for alias in node.names}
                found[name] |= (inner & modules.keys() or {place}) - {name, ''}
    return found


def room(module: str) -> str:
    return max((room for room in LEVELS if f'{module}.'.startswith(f'{room}.')), key=len, default='')


def test_rooms_import_those_below():
    wrong = [
        f'{name} imports {other}'
        for name, others in imported().items()
        for other in others
        if room(name) and room(name) != room(other) and LEVELS[room(name)] >= LEVELS[room(other)]
    ]
    assert not wrong


def test_the_sanitiser_is_entered_by_its_doors():
    entered = {
        other.removeprefix('sharing.')
        for name, others in imported().items()
        for other in others
        if other.startswith('sharing.') and room(name) != 'sharing'
    }
    assert entered == DOORS


def test_no_modules_import_each_other():
    TopologicalSorter(imported()).prepare()


def test_what_writes_tables_loads_no_numerical_library():
    modules = [f'cpmae_bids.bids.{name}' for name in ('verdict_tables', 'participants', 'publish')]
    code = f'import sys, {", ".join(modules)}; sys.exit("numpy" in sys.modules or "scipy" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
