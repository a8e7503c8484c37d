"""Each library that compiles kernels at run time can, with what the image has: one small kernel of each, without a GPU.

A library that cannot compile raises.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import without_gpu
from imagecheck import fatbin

# Of each generation that the image is for.
CAPABILITIES = (80, 86, 89, 90, 100, 120)
# In FlashInfer's words: A100, A10, L4, H100 and H200, B200, RTX PRO 6000.
FLASHINFER_GPUS = {"8.0": 80, "8.6": 86, "8.9": 89, "9.0a": 90, "10.0a": 100, "12.0f": 120}

DEEP_GEMM_KERNEL = """
#include <deep_gemm/impls/sm90_fp8_gemm_1d2d.cuh>
using namespace deep_gemm;
void* kernel = reinterpret_cast<void*>(&sm90_fp8_gemm_1d2d_impl<
    cute::UMMA::Major::K, 0, 4096, 4096, 1, 64, 128, 128, 128, 128, 128, 5, 128, 128, 1, false, 132,
    GemmType::Normal, cutlass::bfloat16_t, epilogue::transform::EpilogueIdentity>);
"""


def triton_stub() -> None:
    """Triton's part that talks to the driver, which it compiles before its first kernel on every GPU."""
    from triton.backends.nvidia import driver
    from triton.runtime.build import compile_module_from_src

    without_gpu.pretend()
    source = Path(driver.__file__).with_name("driver.c").read_text()
    with tempfile.TemporaryDirectory() as folder:
        # It is linked to by this name.
        (Path(folder) / "libcuda.so.1").symlink_to(without_gpu.driver_stub())
        module = compile_module_from_src(
            src=source,
            name="cuda_utils",
            library_dirs=[driver.libdevice_dir, folder],
            include_dirs=driver.include_dirs,
            libraries=driver.libraries,
        )
    assert module.load_binary  # it can be imported, and is what Triton takes it for


def triton_kernels() -> None:
    """Machine code of a kernel for each GPU."""
    import triton
    from triton.backends.compiler import GPUTarget

    from imagecheck import kernels

    signature = {"x": "*fp32", "y": "*fp32", "n": "i32", "block": "constexpr"}
    for capability in CAPABILITIES:
        source = triton.compiler.ASTSource(fn=kernels.double, signature=signature, constexprs={"block": 256})
        assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"], capability


def inductor() -> None:
    """torch.compile for a CPU: its only kernels that a C++ compiler makes."""
    import torch

    compiled = torch.compile(lambda x: (x * 2).sin().sum())
    torch.testing.assert_close(compiled(torch.ones(8)), (torch.ones(8) * 2).sin().sum())


def cutlass_dsl() -> None:
    """A kernel of CUTLASS DSL, which needs no compiler of ours."""
    import cutlass
    from cutlass import cute
    from cutlass.cute.runtime import make_fake_tensor

    from imagecheck import kernels

    tensor = make_fake_tensor(cutlass.Float32, (32,), stride=(1,))
    cute.compile(kernels.launch_increment, tensor)


def humming() -> None:
    """A kernel of Humming, by NVRTC and the toolkit's headers."""
    import humming.jit.compiler as found

    found.current_device = SimpleNamespace(is_ppu=False)  # the real one asks the driver
    found.NVRTCCompiler.compile("#include <humming/kernel/dequant_weight.cuh>\n", "90a", "dequant_unpacked_fp_type")


def tilelang() -> None:
    """A kernel of TileLang, by nvcc."""
    import tilelang as found

    from imagecheck import kernels

    increment = kernels.tilelang_increment()  # type: ignore[no-untyped-call]
    target = found.tvm.target.Target({"kind": "cuda", "arch": "sm_90"})
    with target:
        found.lower(increment, target=target, enable_device_compile=True)


def deep_gemm() -> None:
    """A kernel of DeepGEMM with its own headers and flags, by the nvcc that it finds by CUDA_HOME."""
    without_gpu.pretend()
    from vllm.third_party import deep_gemm as found

    include = Path(found.__file__).parent / "include"
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder) / "kernel.cu", Path(folder) / "kernel.cubin"
        source.write_text(DEEP_GEMM_KERNEL)
        flags = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", "--expt-extended-lambda", "--cubin"]
        host = "--compiler-options=-fPIC,-O3,-fconcepts,-Wno-deprecated-declarations,-Wno-abi"
        nvcc = f"{os.environ['CUDA_HOME']}/bin/nvcc"
        command = [nvcc, str(source), "-o", str(cubin), f"-I{include}", host, *flags]
        subprocess.run([*command, "--gpu-architecture=sm_90a"], check=True)


def flashinfer_compiles() -> None:
    """A module of FlashInfer that the image does not bring: ninja, nvcc, and c++ that links to the toolkit."""
    os.environ["FLASHINFER_CUDA_ARCH_LIST"] = "9.0a"
    from flashinfer.jit.page import gen_page_module

    gen_page_module().build()


def flashinfer_modules() -> Iterator[str]:
    """The modules that were compiled when the image was built are those that FlashInfer takes, for each GPU."""
    import flashinfer_jit_cache

    folder = flashinfer_jit_cache.FOLDER
    expected: dict[str, list[str]] = json.loads((folder / "manifest.json").read_text())["modules"]
    if "sampling" not in expected:
        yield "FlashInfer's sampler was not compiled: run compile-kernels.py"
    for name, architectures in expected.items():
        held = fatbin.architectures((folder / name / f"{name}.so").read_bytes())
        said = {int(architecture.strip("smaf")) for architecture in architectures}
        if held != said:
            yield f"{name} holds code for {sorted(held)}, its manifest says {sorted(said)}: compile it again"
    yield from _not_taken(expected)


def triton_precompiled() -> Iterator[str]:
    """The Triton kernels of every start were compiled when the image was built, and Triton finds them."""
    from backend.launcher.kernel_caches import TRITON_KERNELS

    kept = {path.name for path in TRITON_KERNELS.iterdir()} if TRITON_KERNELS.is_dir() else set()
    if not kept:
        yield f"{TRITON_KERNELS} is empty: run compile-triton-kernels.py"
    for group in TRITON_KERNELS.glob("*/__grp__*.json"):
        for name in json.loads(group.read_text())["child_paths"].values():
            if not Path(name).exists():
                yield f"{group.parent.name} refers to {name}, which is not there: compile where the image has it"


def fork_server() -> Iterator[str]:
    """What the fork server imports in advance can be imported, and initializes no CUDA: copies could not use a GPU."""
    without_gpu.pretend()
    import torch

    from backend.engine import preload
    from backend.patches import flashinfer_selection

    def initialized() -> None:
        raise RuntimeError("CUDA is initialized while modules are imported: the engine would import all of them again")

    torch.cuda._lazy_init = initialized
    flashinfer_selection.install()
    yield from preload.import_all(preload.modules_of({"TRITON_VLLM_DEVICE": "cuda"}))


def _not_taken(expected: dict[str, list[str]]) -> Iterator[str]:
    """Modules that FlashInfer does not find where it sees a GPU that they hold code for."""
    from flashinfer.jit import env

    for gpu, capability in FLASHINFER_GPUS.items():
        os.environ["FLASHINFER_CUDA_ARCH_LIST"] = gpu
        for name, architectures in expected.items():
            here = any(_major(architecture) == capability // 10 for architecture in architectures)
            if here and not env.get_aot_artifacts(name):
                yield f"FlashInfer does not take {name} for compute capability {gpu}: look at flashinfer/jit/env.py"


def _major(architecture: str) -> int:
    return int(architecture.strip("smaf")) // 10
