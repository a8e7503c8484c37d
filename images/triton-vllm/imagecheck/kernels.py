"""One small kernel in each language, for `compilers`. Each is read from its source, so it stands in a file."""
# mypy: ignore-errors

import cutlass
import triton
import triton.language as tl
from cutlass import cute


@triton.jit
def double(x, y, n, block: tl.constexpr):
    """y = 2 x"""
    at = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(y + at, tl.load(x + at, mask=at < n) * 2, mask=at < n)


@cute.kernel
def _increment(tensor: cute.Tensor):
    thread, _, _ = cute.arch.thread_idx()
    tensor[thread] = tensor[thread] + cutlass.Float32(1.0)


@cute.jit
def launch_increment(tensor: cute.Tensor):
    """tensor += 1"""
    _increment(tensor).launch(grid=[1, 1, 1], block=[32, 1, 1])


def tilelang_increment():
    """b = a + 1"""
    import tilelang.language as T

    @T.prim_func
    def increment(a: T.Tensor((128,), "float32"), b: T.Tensor((128,), "float32")):
        with T.Kernel(1, threads=128):
            for i in T.Parallel(128):
                b[i] = a[i] + 1.0

    return increment
