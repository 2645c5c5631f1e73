"""What a figure was measured on."""

import datetime
import os
import platform
import re
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")


def machine(device: str = "cpu", threads: list[int] | None = None) -> dict[str, object]:
    """The hardware, without a host's name, the versions, the day; `threads` are torch's, by default of this process."""
    return {
        "cpu": cpu_name(),
        "gpu": gpu_name(device),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads or [torch.get_num_threads()],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def cpu_name() -> str:
    """The processor's, as the system calls it."""
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def gpu_name(device: str) -> str | None:
    """The GPU's; None for another device."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else None


def described(found: dict[str, object]) -> str:
    """One line."""
    threads = " and ".join(map(str, found["threads"]))  # type: ignore[call-overload]
    where = f"{found['gpu']}, " if found["gpu"] else ""
    return (
        f"{where}{found['cpu']}, {found['cores']} cores, torch {found['torch']} with {threads} "
        f"thread{'' if threads == '1' else 's'}, Python {found['python']}, {found['date']}, "
        f"load {found['load_average']} at the start"
    )


def suffix(device: str) -> str:
    """What a GPU adds to the name of a result's file, so that it lies beside the CPU's: "" for a CPU."""
    name = gpu_name(device)
    return "." + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") if name else ""
