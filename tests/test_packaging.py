"""What is shipped: versions, package data, containers and the commands that the README promises."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from cpmae_bids import __version__

ROOT = Path(__file__).parents[1]
DATA_SUFFIXES = {'.safetensors', '.json', '.md', '.css', '.html', '.toml'}
pytestmark = pytest.mark.skipif(
    not (ROOT / 'setup.cfg').is_file(), reason='needs the source tree, not only the installed package'
)


def read(path: str) -> str:
    return (ROOT / path).read_text('utf-8')


def setup_cfg() -> ConfigParser:
    parser = ConfigParser()
    parser.read_string(read('setup.cfg'))
    return parser


def requirements(text: str) -> set[str]:
    """Return the normalized names of a list of requirements or of a lock file."""
    names = re.findall(r'^\s*([A-Za-z0-9][\w.-]*)', text, flags=re.MULTILINE)
    return {re.sub(r'[-_.]+', '-', name).lower() for name in names}


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(
            ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('not a git checkout')
    return [path for name in listed.split('\0') if name and (path := ROOT / name).is_file()]


def test_version_is_the_same_everywhere():
    assert re.fullmatch(r'\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?', __version__)
    assert re.search(r'^version: (.+)$', read('CITATION.cff'), re.MULTILINE)[1] == __version__
    assert re.search(r'^## (\S+)', read('CHANGES.md'), re.MULTILINE)[1] == __version__


def public_functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            yield from public_functions(node.body)


def test_zenodo_cites_what_the_citation_file_cites():
    cff, zenodo = yaml.safe_load(read('CITATION.cff')), json.loads(read('.zenodo.json'))
    assert [zenodo[key] for key in ('title', 'license', 'creators')] == [
        cff[key] for key in ('title', 'license', 'authors')
    ]


def test_public_functions_have_types():
    """mypy checks what has types; networks and training are excepted there, too (pyproject.toml)."""
    missing = []
    for path in sorted((ROOT / 'cpmae_bids').rglob('*.py')):
        name = path.relative_to(ROOT).as_posix()
        if path.parent.name == 'training' or (path.parent.name == 'models' and path.stem != 'weights'):
            continue
        for function in public_functions(ast.parse(path.read_text('utf-8')).body):
            given = function.args
            args = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            bare = [a.arg for a in args if a and a.annotation is None and a.arg not in ('self', 'cls')]
            if bare or function.returns is None:
                missing.append(f'{name}:{function.lineno} {function.name}')
    assert not missing


def test_every_third_party_import_is_a_declared_dependency():
    options = setup_cfg()
    # an optional part may need an extra, but never that of the tests
    extras = [
        names for extra, names in options['options.extras_require'].items() if extra not in ('test', 'lint')
    ]
    declared = requirements(options['options']['install_requires'] + ''.join(extras))
    distributions = packages_distributions() | {'dlib': ['dlib-bin']}  # whose wheel does not name its module
    undeclared = {}
    for path in tracked_files():
        if path.suffix != '.py' or path.relative_to(ROOT).parts[0] != 'cpmae_bids':
            continue
        for node in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(node, ast.Import):
                modules = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = {node.module}
            else:
                continue
            for module in {module.split('.')[0] for module in modules} - {'cpmae_bids'}:
                if module not in sys.stdlib_module_names and not declared & {
                    re.sub(r'[-_.]+', '-', name).lower() for name in distributions.get(module, [module])
                }:
                    undeclared[module] = str(path.relative_to(ROOT))
    assert not undeclared


def test_locks_pin_what_setup_cfg_asks_for():
    options = setup_cfg()
    runtime = requirements(read('docker/requirements.lock'))
    development = requirements(read('docker/requirements-dev.lock'))
    # PyTorch is chosen by hardware, by docker/install_torch.sh
    assert requirements(options['options']['install_requires']) - runtime == {'torch'}
    extras = options['options.extras_require']
    assert (
        requirements(''.join(extras[name] for name in ('test', 'lint', 'docs', 'demo')))
        <= runtime | development
    )
    assert not runtime & development


def test_locks_have_exact_versions_and_hashes():
    for lock in sorted(path.name for path in (ROOT / 'docker').glob('*.lock')):
        entries = re.split(r'\n(?=\S)', read(f'docker/{lock}').strip())
        bad = [e for e in entries if not re.match(r'[a-z0-9._-]+==\S+ \\\n\s+--hash=sha256:[0-9a-f]{64}', e)]
        assert not bad, lock


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """Return a copy of the tracked files that a wheel is made of.

    A build leaves folders behind, and the working tree may hold files that are not part of the package, or
    change while the test runs: the wheel is compared with the copy that it was built from.
    """
    folder = tmp_path_factory.mktemp('source')
    built_from = {
        *('setup.cfg', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'README.md', 'CHANGES.md', 'CITATION.cff'),
        'cpmae_bids',
    }
    for path in tracked_files():
        name = path.relative_to(ROOT)
        if name.parts[0] in built_from:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
    return folder


@pytest.fixture(scope='module')
def distributions(source, tmp_path_factory) -> Path:
    """Return a folder with the source distribution of this tree, and the wheel that is built from it."""
    pytest.importorskip('build', reason='of the extra "test"')
    folder = tmp_path_factory.mktemp('dist')
    command = [sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder, source]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope='module')
def wheel(distributions) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(distributions.glob('*.whl')))


@pytest.mark.slow
def test_wheel_holds_all_modules_and_data(source, wheel):
    expected = {
        path.relative_to(source).as_posix() for path in (source / 'cpmae_bids').rglob('*') if path.is_file()
    }
    assert {'cpmae_bids/cli/run.py', 'cpmae_bids/data/weights/mae.safetensors'} <= expected
    assert {name for name in wheel.namelist() if name.startswith('cpmae_bids/')} == expected
    assert {Path(name).suffix for name in expected} <= DATA_SUFFIXES | {'.py'}


@pytest.mark.slow
def test_wheel_carries_licence_and_metadata(wheel):
    names = wheel.namelist()
    assert any(name.endswith('/licenses/LICENSE') for name in names)
    metadata = wheel.read(next(name for name in names if name.endswith('/METADATA'))).decode()
    assert f'\nVersion: {__version__}\n' in metadata
    assert '\nLicense-Expression: Apache-2.0\n' in metadata


@pytest.mark.slow
def test_source_distribution_holds_what_a_wheel_is_made_of(distributions):
    with tarfile.open(next(distributions.glob('*.tar.gz'))) as sdist:
        names = {name.partition('/')[2] for name in sdist.getnames()}
    assert {'LICENSE', 'README.md', 'setup.cfg', 'cpmae_bids/data/weights/mae.safetensors'} <= names


@pytest.fixture(scope='module')
def clean_environment(distributions, tmp_path_factory) -> Path:
    """Return a new environment with the wheel, and what it needs from this one."""
    environment = tmp_path_factory.mktemp('clean') / 'env'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', environment], check=True)
    wheel = next(distributions.glob('*.whl'))
    install = ['--python', environment, 'install', '--quiet', '--no-deps', '--no-index', wheel]
    # Without PYTHONPATH, which may name a tree whose metadata pip would take for an installed package
    unset = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    subprocess.run([sys.executable, '-m', 'pip', *install], check=True, capture_output=True, env=unset)
    packages = next(environment.glob('lib/python*/site-packages'))
    # The dependencies, but not their .pth files: an editable cpmae-bids of this environment stays unseen
    paths = [path for path in sys.path if path.endswith('-packages')]
    (packages / 'dependencies.pth').write_text(''.join(f'{path}\n' for path in paths))
    return environment


def run_clean(environment: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command of an environment away from the source tree."""
    return subprocess.run(
        [environment / 'bin' / command[0], *command[1:]],
        cwd=environment,
        env={'PATH': os.defpath, 'HOME': str(environment), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_console_scripts_run_from_a_clean_environment(clean_environment):
    for name in re.findall(
        r'^([\w-]+) =', setup_cfg()['options.entry_points']['console_scripts'], re.MULTILINE
    ):
        result = run_clean(clean_environment, name, '--help')
        assert result.returncode == 0, f'{name}: {result.stderr}'
        assert result.stdout.startswith('usage:')
    assert run_clean(clean_environment, 'cpmae-bids', '--version').stdout == f'cpmae-bids {__version__}\n'
    assert run_clean(clean_environment, 'cpmae-bids', '/nowhere', 'out', 'participant').returncode == 64


@pytest.mark.slow
def test_package_data_is_whole_in_a_clean_environment(clean_environment):
    code = (
        'import cpmae_bids, cpmae_bids.templates as t, cpmae_bids.models.weights as w; '
        'from importlib.resources import files; from cpmae_bids.training.settings import PACKAGED; '
        'assert w.resolve_weights(None).model_hash and t.SHIPPED.is_file() and PACKAGED.is_file(); '
        'assert (files("cpmae_bids.reports") / "page.css").is_file(); print(cpmae_bids.__file__)'
    )
    result = run_clean(clean_environment, 'python', '-c', code)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(clean_environment)


@pytest.fixture
def recipes(monkeypatch):
    """Return the last stage of the Dockerfile and Singularity.def, as a library reads them."""
    parsers = pytest.importorskip('spython.main.parse.parsers')
    monkeypatch.chdir(ROOT)
    stages = parsers.get_parser('docker')('Dockerfile').parse()
    (singularity,) = parsers.get_parser('singularity')('Singularity.def').parse().values()
    *_, docker = stages.values()
    return docker, singularity


def singularity_section(name: str) -> str:
    return re.search(rf'^%{name}\n(.*?)(?=^%|\Z)', read('Singularity.def'), re.MULTILINE | re.DOTALL)[1]


def test_containers_have_the_same_entry_point(recipes):
    docker, singularity = recipes
    (entry_point,) = docker.entrypoint
    assert singularity.cmd == f'exec {entry_point} "$@"'
    assert singularity_section('test').strip().endswith(f'{entry_point} --self-check')
    assert Path(entry_point).name in setup_cfg()['options.entry_points']['console_scripts']


def test_containers_have_the_same_environment(recipes):
    docker, singularity = (dict(pair.split('=', 1) for pair in recipe.environ) for recipe in recipes)
    # apptainer keeps the user's own home and has --nv for the GPU; the tag comes with the image
    of_docker = {'HOME', 'NVIDIA_VISIBLE_DEVICES', 'NVIDIA_DRIVER_CAPABILITIES', 'CPMAE_BIDS_DOCKER_TAG'}
    assert set(docker) - set(singularity) == of_docker
    assert set(singularity) <= set(docker)
    # folders of caches differ: /tmp is private to a Docker container and shared with the host under apptainer
    caches = {name for name, value in docker.items() if value.startswith('/tmp/')}
    assert caches == {'XDG_CACHE_HOME', 'MPLCONFIGDIR', 'TEMPLATEFLOW_HOME'}
    for name in set(singularity) - caches:
        assert singularity[name] == docker[name]


def test_both_builds_of_pytorch_are_pinned_to_the_same_version():
    locked = {name: read(f'docker/torch-{name}.lock') for name in ('cpu', 'cuda')}
    versions = {name: re.search(r'^torch==(\S+)', text, re.MULTILINE)[1] for name, text in locked.items()}
    assert versions['cpu'] == f'{versions["cuda"]}+cpu'
    assert 'nvidia-cudnn' in locked['cuda']
    runtime = requirements(read('docker/requirements.lock'))
    assert not runtime & (requirements(locked['cpu']) | requirements(locked['cuda']))


def test_build_context_holds_what_the_dockerfile_copies():
    allowed = {line.removeprefix('!') for line in read('.dockerignore').splitlines() if line.startswith('!')}
    copied = set()
    for line in re.findall(r'^COPY (?!--from)(.+)$', read('Dockerfile'), re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)


def test_commands_of_the_documentation_exist():
    targets = set(re.findall(r'^([a-z-]+):', read('Makefile'), re.MULTILINE))
    scripts = setup_cfg()['options.entry_points']['console_scripts']
    text = read('README.md') + ''.join(path.read_text('utf-8') for path in (ROOT / 'docs').glob('*.md'))
    code = '\n'.join(re.findall(r'```.*?```|`[^`]+`', text, re.DOTALL))
    promised = set(re.findall(r'\bmake ([a-z-]+)', code))
    assert {'demo', 'test'} <= promised <= targets
    assert set(re.findall(r'\bcpmae-bids-[a-z]+\b', code)) <= set(
        re.findall(r'^[\w-]+', scripts, re.MULTILINE)
    )


def test_the_recipe_for_neurodesk_is_of_this_package():
    recipe = yaml.safe_load(read('docker/neurodesk.yaml'))
    assert (recipe['name'], recipe['version']) == ('cpmae-bids', __version__)
    assert recipe['copyright'] == [{'license': 'Apache-2.0'}]
    scripts = setup_cfg()['options.entry_points']['console_scripts']
    assert set(recipe['deploy']['bins']) <= set(re.findall(r'^[\w-]+', scripts, re.MULTILINE))


def test_documented_options_are_those_of_the_parser():
    from cpmae_bids.cli.parser import build_parser

    rows = re.findall(r'^\| (`-.+?) \|', read('docs/usage.md'), re.MULTILINE)
    documented = {option for row in rows for option in re.findall(r'`(-[\w-]+)`', row)}
    # The other spelling, and the other name that BIDS Apps have for it, go without saying.
    known = {o for action in build_parser()._actions for o in action.option_strings if '_' not in o}
    assert documented == known - {'-h', '--help', '--verbose', '--skip-bids-validator', '--n-procs'}


def test_links_between_documents_lead_somewhere():
    broken = []
    for path in [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').glob('*.md')]:
        for target in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', path.read_text('utf-8')):
            if '://' not in target and not (path.parent / target).exists():
                broken.append(f'{path.name}: {target}')
    assert not broken


def test_no_package_host_is_written_anywhere():
    # Which registry is asked is the business of whoever installs. Assembled, so as not to find itself.
    names = ('pypi org', 'pythonhosted org', 'pytorch org', 'docker io', 'ghcr io', 'quay io', 'nvcr io')
    hosts = ['.'.join(name.split()) for name in names]
    found = []
    for path in tracked_files():
        text = path.read_bytes()
        found += [f'{path.relative_to(ROOT)}: {host}' for host in hosts if host.encode() in text]
    assert not found


def test_no_head_image_is_tracked():
    images = '.nii .nii.gz .mgz .mgh .dcm .npy .npz .h5'
    pickles = '.pt .pth .ckpt .pkl'
    assert not [path for path in tracked_files() if path.name.endswith((*images.split(), *pickles.split()))]
