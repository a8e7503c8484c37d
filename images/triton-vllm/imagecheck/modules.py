"""Every module of vLLM that a start on a GPU may import can be imported, and so can all that its functions import.

What cannot be imported is listed here with the reason. A listed one that can be imported is reported too.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# Modules for other hardware and programs beside the server.
ELSEWHERE = re.compile(
    r"(^|[._])(amd|rocm|xpu|tpu|cpu|zentorch|aiter|flydsl|helion|test|benchmarks?|bench_utils|profiler|__main__)\w*([._]|$)"
)
# What compiles when it is imported, under whatever name: MiniMax M3's at its first start on compute capability 10, for
# a minute; the client of a store for KV cache outside.
COMPILING = re.compile(r"(^|\.)(src\.sm100\.build_k2q_csr|hf3fs_client)$")
# Packages that vLLM can use and the image does without.
WITHOUT = {
    "arctic_inference": "suffix decoding",
    "b12x": "kernels for compute capability 12",
    "cohere": "Cohere's own protocol",
    "cohere_melody": "Cohere's own protocol",
    "conch": "kernels for other hardware",
    "deep_ep": "expert parallelism over several nodes",
    "fbgemm_gpu": "one of several kernels for NVFP4",
    "flag_gems": "one of several kernels of MiniCPM-o",
    "flash_attn": "sparse attention of MiniMax M3 for training",
    "hpc": "kernels of Hunyuan",
    "kvcr": "a store for KV cache outside",
    "lmcache": "a store for KV cache outside",
    "modelexpress": "a store for weights outside",
    "modelscope": "another hub",
    "moonep": "expert parallelism over several nodes",
    "mori": "AMD",
    "msgpack": "AMD's connector",
    "nixl_ep": "expert parallelism over several nodes",
    "ray": "one engine on several nodes",
    "smg_grpc_servicer": "vLLM's own gRPC",
    "terratorch": "models of the earth's surface",
    "timm": "two image models",
    "torchao": "quantization by torchao",
    "torchaudio": "audio models",
    "torchcodec": "video",
    "vllm_omni": "a plug-in",
}
# Modules and names (MODULE or MODULE.NAME) that cannot be imported here, with the reason.
LISTED = {
    "PyNvVideoCodec": "wants the driver's libnvidia-encode.so.1; video decoded by the GPU is asked for by name",
    "fmha_sm100.jit": "vLLM names its copy wrongly; an indexer of MiniMax M3 without caches",
    "nvidia.deepstream_videodecode": "DeepStream; asked for by name",
    "quack.activation.sub_packed_f32x2": "of another quack; MiniMax M3 on compute capability 10",
    "torch._inductor.utils.maybe_log_cudagraph_partition": "for torch 2.9, whose scheduler vLLM replaces",
    "transformers.models.pixtral.modeling_pixtral.PixtralRotaryEmbedding": "of transformers before 5.17",
    "transformers.models.pixtral.modeling_pixtral.position_ids_in_meshgrid": "of transformers before 5.17",
    "triton_kernels.matmul_details.opt_flags": "of triton_kernels 3.8; vLLM brings 3.5",
    "triton_kernels.tensor.SparseMatrix": "of triton_kernels 3.6; vLLM brings 3.5",
    "vllm.entrypoints.grpc_server": "vLLM's own gRPC",
    "vllm.entrypoints.launchers.grpc_server": "vLLM's own gRPC",
    "vllm.third_party.flash_linear_attention.ops.fused_norm_gate": "defines an op that kda.py beside it defines too",
    "vllm.v1.attention.backends.mla.cutlass_mla": "counts the GPU's multiprocessors through the driver",
    "vllm.v1.executor.ray_executor_v2": "one engine on several nodes",
}


class Imports(ast.NodeVisitor):
    """What a module imports anywhere in it, but for what it does without when the import fails."""

    def __init__(self, package: str) -> None:
        self.found: set[tuple[str, str | None]] = set()
        self._package = package
        self._guarded = 0

    def visit_Try(self, node: ast.Try) -> None:
        """What a handler for a failed import covers is optional, and so is what the handler imports instead."""
        optional = any(_catches_imports(handler) for handler in node.handlers)
        self._guarded += optional
        for child in (*node.body, *node.handlers):
            self.visit(child)
        self._guarded -= optional
        for child in (*node.orelse, *node.finalbody):
            self.visit(child)

    def visit_With(self, node: ast.With) -> None:
        """`with suppress(ImportError)` is such a handler."""
        optional = any("suppress" in ast.dump(item.context_expr) for item in node.items)
        self._guarded += optional
        self.generic_visit(node)
        self._guarded -= optional

    def visit_If(self, node: ast.If) -> None:
        """What only type checkers see is not imported."""
        for child in node.orelse if "TYPE_CHECKING" in ast.dump(node.test) else [*node.body, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b`"""
        if not self._guarded:
            self.found.update((alias.name, None) for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b`"""
        if self._guarded:
            return
        base = node.module or ""
        if node.level:
            above = self._package.split(".")
            base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])])
        self.found.update((base, alias.name) for alias in node.names)


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    wide = {"ImportError", "ModuleNotFoundError", "AttributeError", "Exception", "BaseException"}
    return handler.type is None or any(isinstance(n, ast.Name) and n.id in wide for n in ast.walk(handler.type))


def modules(package: str) -> dict[str, Path]:
    """Files of the modules of `package` that are for a server on NVIDIA's GPUs."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0])
    found = {}
    for file in sorted(root.rglob("*.py")):
        parts = [package, *file.relative_to(root).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not ELSEWHERE.search(name):
            found[name] = file
    return found


class Importer:
    """Imports modules once each, and reports why one cannot be."""

    def __init__(self) -> None:
        self._known: dict[str, ModuleType | BaseException] = {}

    def get(self, name: str) -> ModuleType | BaseException:
        """The module, or what importing it raised."""
        if name not in self._known:
            try:
                self._known[name] = importlib.import_module(name)
            except BaseException as error:  # noqa: BLE001 - whatever a module raises; some end the process
                self._known[name] = error
        return self._known[name]

    def lacks(self, module: str, name: str | None) -> str | None:
        """Why `from module import name` fails, None when it does not."""
        found = self.get(module)
        if isinstance(found, BaseException):
            return None if missing(found) in WITHOUT else f"{type(found).__name__}: {found}"
        if name in (None, "*") or hasattr(found, str(name)):
            return None
        below = self.get(f"{module}.{name}")
        if not isinstance(below, BaseException) or missing(below) in WITHOUT:
            return None
        return f"{module} has no {name}"


def missing(error: BaseException | None) -> str:
    """The package whose absence is the cause of an error; empty when that is not the cause."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.split(".")[0]
        error = error.__cause__ or error.__context__
    return ""


def problems(package: str = "vllm") -> Iterator[str]:
    """What of `package` cannot be imported and is not listed, and what is listed and can be."""
    files = {name: file for name, file in modules(package).items() if not COMPILING.search(name)}
    importer = Importer()
    required: dict[tuple[str, str | None], str] = {(name, None): "" for name in files}
    for module, file in files.items():
        imports = Imports(module if file.name == "__init__.py" else module.rpartition(".")[0])
        imports.visit(ast.parse(file.read_text()))
        for one in imports.found:
            required.setdefault(one, module)
    failed: dict[str, str] = defaultdict(str)
    for (module, name), user in required.items():
        if COMPILING.search(module) or ELSEWHERE.search(module):
            continue
        if reason := importer.lacks(module, name):
            failed[f"{module}.{name}" if name and " has no " in reason else module] = f"{reason[:200]} (for {user})"
    for name, reason in sorted(failed.items()):
        if name not in LISTED:
            yield f"{name} cannot be imported: {reason}: pin what it wants, or list it with the reason in LISTED"
    for name in sorted(set(LISTED) - set(failed)):
        yield f"{name} is in LISTED and can be imported: remove it from LISTED"
    for name in sorted(WITHOUT):
        if importlib.util.find_spec(name):
            yield f"{name} is in WITHOUT and is installed: remove it from WITHOUT"
