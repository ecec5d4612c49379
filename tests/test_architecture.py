"""Rules about the code itself: what importing costs, how long files are, what is documented, what is never tracked."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wsinuc

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "wsinuc").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
SOURCES = [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py"))]
MODULES_IN_A_FOLDER = 20
HEAVY = {"torch", "zarr", "numba", "numpy", "pyarrow", "shapely", "skimage", "scipy", "dask", "openslide", "tifffile"}
MACHINE_PATHS = tuple(f"/{name}/" for name in ("work", "farm", "root", "tmp/wt", "tmp/venv"))
TEXT = {".py", ".md", ".toml", ".txt", ".cfg", ".yml", ".yaml", ".json", ".sh", ""}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that are loaded in a fresh interpreter after a statement."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
    done = subprocess.run([sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import wsinuc", "import wsinuc_cli.main", "import wsinuc.config, wsinuc.grid"])
def test_importing_is_light(statement):
    assert not loaded_after(statement) & HEAVY


def test_models_know_no_slide_and_no_storage():
    modules = [path.relative_to(ROOT) for path in MODULES if path.is_relative_to(ROOT / "wsinuc" / "models")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in modules]
    assert not loaded_after(f"import {', '.join(names)}") & {"zarr", "dask", "openslide", "tiffslide", "shapely"}


@pytest.mark.parametrize("name", wsinuc.__all__)
def test_public_names_resolve_and_stand_in_the_map(name):
    value = getattr(wsinuc, name)
    assert value.__name__ == name
    assert f"`{name}`" in wsinuc.__doc__
    assert name in dir(wsinuc)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        wsinuc.nonsense


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_one_idea(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_things_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module says nothing about itself"
    missing = [node.name for node in public_definitions(tree) if not ast.get_docstring(node) and not is_overload(node)]
    assert not missing


def is_overload(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)


def public_definitions(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and the public methods that introduce a name of their own."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append(node)
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_library_is_silent(path):
    if "wsinuc_cli" in path.parts:
        pytest.skip("the command line may print")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert not {"print", "exit", "quit", "input"} & set(calls)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_unpickled(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_torch_loads_tensors_only(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert "weights_only=True" in [f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords], ast.unparse(node)


def test_no_machine_paths_are_tracked():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listing.stdout.splitlines() if Path(name).suffix in TEXT]
    guilty = [
        f"{file.relative_to(ROOT)}: {path}"
        for file in files
        if file.is_file() and file != Path(__file__)
        for path in MACHINE_PATHS
        if path in file.read_text(encoding="utf-8", errors="replace")
    ]
    assert not guilty


def test_every_module_imports():
    for path in MODULES:
        parts = path.relative_to(ROOT / "cli" if "cli" in path.parts[len(ROOT.parts)] else ROOT).with_suffix("").parts
        importlib.import_module(".".join(part for part in parts if part != "__init__"))


def packages_on_the_map() -> dict[str, set[str]]:
    """Package folder -> the modules that ARCHITECTURE.md lists for it."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    area = page.partition("## The map")[2].partition("\n## ")[0]
    listed = {}
    for section in area.split("### `")[1:]:
        folder, _, text = section.partition("`")
        modules = text.partition("Modules:")[2].partition("\n\n")[0]
        listed[folder] = set(re.findall(r"`(\w+)`", modules))
    return listed


def test_the_map_and_the_folders_agree():
    found: dict[str, set[str]] = {}
    for path in (ROOT / "wsinuc").rglob("*.py"):
        modules = found.setdefault(name_of(path.parent), set())
        if path.stem != "__init__":
            modules.add(path.stem)
    assert packages_on_the_map() == found


def test_no_folder_is_crowded():
    crowded = {
        folder: len(modules) for folder, modules in packages_on_the_map().items() if len(modules) > MODULES_IN_A_FOLDER
    }
    assert not crowded


def places() -> list[tuple[str, str]]:
    """(what is added, what is touched) for each row of "Where to put things"."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = page.partition("## Where to put things")[2].splitlines()
    cells = [row.strip("|").split("|") for row in rows if row.startswith("| a")]
    return [(what.strip(), where) for what, where in cells]


@pytest.mark.parametrize(("what", "where"), places(), ids=lambda text: text if text.startswith("a") else "")
def test_every_place_to_put_things_exists(what, where):
    named = re.findall(r"`([^`]+)`", where)
    assert named
    for name in named:
        if name.endswith("/") or "/" in name:
            assert (ROOT / name).exists(), name
        elif name.startswith(("wsinuc.", "wsinuc_cli.")):
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("what", ["a reader", "an export", "a network", "a command", "a metric", "a measurement"])
def test_a_newcomer_finds_the_place_for(what):
    assert what in dict(places())


OPENED = re.compile(r"""open\([^()]*["'][wa]b?\+?["']|\.write_(?:text|bytes)\(|\.savefig\([a-z_]*path""")
"""Opening what may lie there already for writing; ``own_files`` creates and adds to files instead."""
MAY_OPEN = {
    "wsinuc/own_files.py": "the place that does so safely",
    "wsinuc/store/upload.py": "objects of a store",
    "wsinuc/workflows/train/pixel_table.py": "adds to a file that it has just made under a random name",
    "wsinuc/synthesis/layout_files.py": "a file that the user names",
    "wsinuc/slides/isolation/reader_process.py": "a setting of the kernel's, below /proc",
}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_are_created_and_not_opened_for_writing(path):
    """A link that somebody has planted in a shared folder would be written through."""
    found = OPENED.findall(path.read_text(encoding="utf-8"))
    assert not found or name_of(path) in MAY_OPEN
