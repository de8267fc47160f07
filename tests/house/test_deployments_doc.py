"""docs/deployments.md: its commands, typed in their order beside a real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from perdure.testing.process import ServerProcess, free_ports
from tests.sdk_worker import SdkWorker

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parents[2] / "docs" / "deployments.md").read_text()


def test_its_commands(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    (code,) = re.findall(r"^```python file=worker.py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = "".join(re.findall(r"^```sh fragment\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).splitlines()
    worker = SdkWorker(tmp_path, code, free_ports(1)[0])
    server = ServerProcess([], tmp_path / "data")
    admin_url = f"http://127.0.0.1:{server.admin_port}"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PERDURE_ADMIN_URL": admin_url,
    }
    try:
        for line in lines:
            if line.startswith("hypercorn"):
                worker.start()
                continue
            if line.startswith("perdure serve"):
                server.start()
                server.wait_ready()
                continue
            if " ID" in line:
                with urllib.request.urlopen(f"{admin_url}/deployments") as answer:
                    line = line.replace("ID", json.load(answer)["deployments"][0]["id"])
            line = line.replace("http://127.0.0.1:9080", worker.uri)
            line = line.replace("localhost:8080", f"127.0.0.1:{server.ingress_port}")
            done = subprocess.run(["bash", "-euc", line], env=environment, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            if line.startswith("curl"):
                assert done.stdout == '"hello Ann"'
        assert len(lines) == 9
    finally:
        worker.stop()
        if server.running:
            server.kill()
