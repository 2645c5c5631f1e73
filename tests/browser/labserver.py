"""A private JupyterLab on the loopback address: its own folders, a free port, no token; only this process is ended."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LabServer:
    """`url` is where Lab answers, `notebooks` the folder it serves."""

    url: str
    notebooks: Path


@contextmanager
def lab_server(folder: Path, patience: float = 60) -> Iterator[LabServer]:
    """Start Lab in `folder` (empty), wait until it answers (at most `patience` seconds), and end it on leaving.

    Nothing of the user's Jupyter is read or written: settings, workspaces, kernels and extensions have private folders.
    Raises: RuntimeError with the end of the server's log where it does not come up.
    """
    notebooks, log = folder / "notebooks", folder / "lab.log"
    notebooks.mkdir()
    quiet = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false"}')  # else Lab asks, on top of the notebook
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"),
        "--ServerApp.port_retries=0",
        "--ServerApp.kernel_websocket_connection_class=gantutor.lab.server.PromptConnection",
        f"--ServerApp.root_dir={notebooks}",
        "--IdentityProvider.token=",  # loopback only, for the time of the tests
        "--PasswordIdentityProvider.hashed_password=",
        "--LabApp.expose_app_in_browser=True",  # window.jupyterapp: the tests read Lab's own state
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "--LanguageServerManager.autodetect=False",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=private_environment(folder), start_new_session=True
        )
    try:
        end = time.monotonic() + patience
        while not answers(f"{url}/api/status"):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield LabServer(url, notebooks)
    finally:
        process.terminate()  # Lab then ends its kernels
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def private_environment(folder: Path) -> dict[str, str]:
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    private = {name: str(folder / place) for name, place in places.items()}
    # One thread, as for all tests (Makefile); read when a kernel imports torch.
    return {**os.environ, **private, "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False
