"""Rules about the code itself: what importing costs, how long files are, what is documented, what is never tracked."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import wsinuc

ROOT = Path(__file__).parents[2]
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


def test_importing_is_light():
    assert not loaded_after("import wsinuc, wsinuc_cli.main, wsinuc.config, wsinuc.grid") & HEAVY


def test_public_names_resolve_and_stand_in_the_map():
    for name in wsinuc.__all__:
        assert getattr(wsinuc, name).__name__ == name
        assert f"`{name}`" in wsinuc.__doc__
        assert name in dir(wsinuc)


def test_models_know_no_slide_and_no_storage():
    modules = [path.relative_to(ROOT) for path in MODULES if path.is_relative_to(ROOT / "wsinuc" / "models")]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in modules]
    assert not loaded_after(f"import {', '.join(names)}") & {"zarr", "dask", "openslide", "tiffslide", "shapely"}


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        wsinuc.nonsense


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_a_file_is_one_idea():
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_public_things_have_docstrings():
    silent = [name_of(path) for path in MODULES if not ast.get_docstring(tree_of(path))]
    assert silent == [], "modules that say nothing about themselves"
    missing = [
        f"{name_of(path)}: {node.name}"
        for path in MODULES
        for node in public_definitions(tree_of(path))
        if not ast.get_docstring(node) and not is_overload(node)
    ]
    assert missing == []


def is_overload(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)


def public_definitions(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module, and the public methods that introduce a name of their own."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append(node)
    return found


@cache
def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]


def imported_packages(tree: ast.Module) -> set[str]:
    """Top-level packages that a module imports, wherever in it."""
    packages = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            packages.add((node.module or "").partition(".")[0])
    return packages


def test_the_library_is_silent():
    noisy = [
        f"{name_of(path)}: {call.func.id}"
        for path in MODULES
        if "wsinuc_cli" not in path.parts
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id in {"print", "exit", "quit", "input"}
    ]
    assert noisy == []


def test_nothing_is_unpickled():
    unsafe = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    assert [name_of(path) for path in MODULES if imported_packages(tree_of(path)) & unsafe] == []


def test_torch_loads_tensors_only():
    loads = [
        f"{name_of(path)}: {ast.unparse(call)}"
        for path in MODULES
        for call in calls(path)
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "torch.load"
    ]
    assert [load for load in loads if "weights_only=True" not in load] == []


def test_tests_import_nothing_from_tests():
    """What tests share is in tests/helpers, where it is found."""
    folder = ROOT / "tests"
    stems = {path.stem for path in folder.rglob("test_*.py")}
    guilty = [
        name_of(path) for path in folder.rglob("*.py") if imported_packages(tree_of(path)) & (stems | {"conftest"})
    ]
    assert guilty == []
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["pythonpath"] == [
        "tests"
    ]


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
    for path in MODULES:
        modules = found.setdefault(name_of(path.parent), set())
        if path.stem != "__init__":
            modules.add(path.stem)
    assert packages_on_the_map() == found


def test_packages_introduce_themselves() -> None:
    """Three to ten lines: what goes in, what comes out, which file to read first; the root has the public names."""
    lengths = {}
    for path in (path for path in MODULES if path.stem == "__init__"):
        introduction = ast.get_docstring(tree_of(path)) or ""
        lengths[name_of(path.parent)] = len(introduction.splitlines())
    del lengths["wsinuc"]
    assert {name: count for name, count in lengths.items() if not 3 <= count <= 10} == {}


def test_the_file_to_read_first_is_there() -> None:
    named = [
        (path.parent, name)
        for path in MODULES
        if path.stem == "__init__"
        for name in re.findall(r"[Rr]ead `+(\w+)`+\s+first", ast.get_docstring(tree_of(path)) or "")
    ]
    assert len(named) > 30
    assert [
        (name_of(folder), name) for folder, name in named if not {name, f"{name}.py"} & set(os.listdir(folder))
    ] == []


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


def test_every_place_to_put_things_exists():
    for what, where in places():
        named = re.findall(r"`([^`]+)`", where)
        assert named, what
        for name in named:
            if "/" in name:
                assert (ROOT / name).exists(), f"{what}: {name}"
            elif name.startswith(("wsinuc.", "wsinuc_cli.")):
                module, _, attribute = name.rpartition(".")
                assert hasattr(importlib.import_module(module), attribute), f"{what}: {name}"


def test_every_name_on_the_page_is_in_the_code():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`(wsinuc(?:_cli)?\.[\w.]+)`", page))
    assert len(names) > 25
    for name in names:
        pkgutil.resolve_name(name)  # raises for one that is not there


def test_a_newcomer_finds_the_place():
    assert {"a reader", "an export", "a network", "a command", "a metric", "a measurement"} <= set(dict(places()))


OPENED = re.compile(r"""open\([^()]*["'][wa]b?\+?["']|\.write_(?:text|bytes)\(|\.savefig\([a-z_]*path""")
"""Opening what may lie there already for writing; ``own_files`` creates and adds to files instead."""
MAY_OPEN = {
    "wsinuc/own_files.py": "the place that does so safely",
    "wsinuc/store/upload.py": "objects of a store",
    "wsinuc/synthesis/layout_files.py": "a file that the user names",
    "wsinuc/slides/isolation/reader_process.py": "a setting of the kernel's, below /proc",
}


def test_files_are_created_and_not_opened_for_writing():
    """A link that somebody has planted in a shared folder would be written through."""
    opening = {name_of(path) for path in MODULES if OPENED.search(path.read_text(encoding="utf-8"))}
    assert opening - set(MAY_OPEN) == set()


CREATED = re.compile(r"""own_files\.create\(|from wsinuc\.own_files import [^\n]*\bcreate\b""")
"""Making a file under its own name, where a kill leaves half of it; `durable.replacing` names it at the end."""
MAY_CREATE = {
    "wsinuc/durable.py": "the place that does so safely",
    "wsinuc/aside.py": "a sign that is looked at only while its process lives",
    "wsinuc/store/lock.py": "an empty file, to see what a folder takes",
}


def test_files_get_their_names_when_they_are_whole():
    creating = {name_of(path) for path in MODULES if CREATED.search(path.read_text(encoding="utf-8"))}
    assert creating == set(MAY_CREATE)
