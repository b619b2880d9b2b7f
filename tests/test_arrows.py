"""Which way imports may go, as tables: an argument about layers is an argument about one line here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("identity", "controller", "ovsagent", "topology", "compute", "storage")

# Who may import this library; everybody else may not.
DOORS = {
    "os_ken": ("controller/openflow/", "ovsagent/answers/"),
    "libvirt": ("compute/drivers/libvirt.py",),
    "subprocess": ("ovsagent/", "storage/backends/", "topology/", "compute/drivers/", "unryu/service.py", "bench/"),
}
# What the files below this path may not import (sqlalchemy: a feature decides, it opens no session).
NEVERS = {
    "controller/features/": ("sqlalchemy", "os_ken", "time", "random", "unryu.db", "unryu.journal", "controller.features"),
    "controller/flow/": ("sqlalchemy", "os_ken", "controller.openflow", "controller.features", "unryu", "time"),
    "controller/pipeline.py": ("unryu", "sqlalchemy", "os_ken", "controller.openflow"),
    "controller/derive/": ("unryu", "sqlalchemy", "os_ken", "controller.openflow", "controller.features", "time"),
    "controller/ipam.py": ("sqlalchemy", "unryu.db"),
    "controller/allocate.py": ("sqlalchemy", "unryu.db"),
}
# Only these call what changes a switch, or asks it.
CALLERS = {
    "controller.openflow.push": ("controller/pusher.py",),
    "controller.openflow.readback": ("controller/pusher.py",),
}


def sources() -> list[Path]:
    rooms = ("unryu", "bench", *ROOMS)
    return [p for room in rooms for p in sorted((ROOT / room).rglob("*.py")) if "migrations" not in p.parts]


def imports(text: str, typing_too: bool = False) -> Iterator[str]:
    """The modules a source imports, `from a import b` as `a.b`; what is only for the type checker does not count."""
    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            yield child
            yield from walk(child)

    for node in walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def breaches(path: str, text: str) -> list[str]:
    """What a file imports that it may not, as sentences."""
    found = []
    room = path.split("/")[0]
    for module in imports(text):
        if module.split(".")[0] in ROOMS and room in ("unryu", *ROOMS) and module.split(".")[0] != room:
            found.append(f"{path} imports {module}: no room imports another, and the ground floor none")
        if within(module, "tests"):
            found.append(f"{path} imports {module}: nothing imports tests")
        for library, doors in DOORS.items():
            if within(module, library) and not path.startswith(doors):
                found.append(f"{path} imports {module}: {library} comes in by {', '.join(doors)}")
        for place, nevers in NEVERS.items():
            if path.startswith(place) and path != place + "__init__.py":
                found += [f"{path} imports {module}: never below {place}" for never in nevers if within(module, never)]
        for callee, callers in CALLERS.items():
            if within(module, callee) and path not in callers and not path.startswith(("bench/", "controller/openflow/")):
                found.append(f"{path} imports {module}: only {', '.join(callers)} may")
    return found


def test_every_arrow_points_the_right_way() -> None:
    found = [b for p in sources() for b in breaches(str(p.relative_to(ROOT)), p.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("path", "text"), [
    ("unryu/auth.py", "import controller.flow"),
    ("identity/api.py", "from controller import flow"),
    ("controller/features/ports.py", "from controller.features.networks import Network"),
    ("controller/features/ports.py", "import time"),
    ("controller/loop.py", "from os_ken.lib import hub"),
    ("controller/hosts.py", "from controller.openflow.push import push"),
    ("controller/loop.py", "import tests.ovs"),
    ("identity/api.py", "import subprocess"),
])
def test_a_planted_breach_is_seen(path: str, text: str) -> None:
    assert breaches(path, text)


def at_import(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that run when a module is loaded: none within a function."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from at_import(child)


def test_no_module_works_at_import() -> None:
    forbidden = {"open", "read_text", "read_bytes", "getenv", "run", "Popen", "connect", "system", "environ"}
    found = [f"{path.relative_to(ROOT)}:{call.lineno} calls {ast.unparse(call.func)} at import"
             for path in sources() for call in at_import(ast.parse(path.read_text()))
             if forbidden & set(ast.unparse(call.func).split("."))
             and "__main__" not in path.read_text().splitlines()[call.lineno - 2]]
    assert not found, "\n".join(found)
