"""Collects the tensors of one layer of a checkpoint."""

from triton_vllm_operator.capacity.model.safetensors import TensorInfo


class LayerWriter:
    """Collects tensors whose names start with `prefix`, in the checkpoint's dtype (a safetensors name) unless given."""

    def __init__(self, prefix: str, dtype: str) -> None:
        self.prefix = prefix
        self.dtype = dtype
        self.tensors: list[TensorInfo] = []

    def add(self, name: str, *shape: int, dtype: str = "") -> None:
        """Add one tensor."""
        self.tensors.append(TensorInfo(self.prefix + name, dtype or self.dtype, shape))

    def linear(self, name: str, rows: int, columns: int, *, bias: bool = False) -> None:
        """Add a linear layer's weight [rows, columns] and, if it has one, its bias [rows]."""
        self.add(f"{name}.weight", rows, columns)
        if bias:
            self.add(f"{name}.bias", rows)

    def norm(self, name: str, size: int, *, bias: bool = False) -> None:
        """Add a normalization's weight and, if it has one, its bias."""
        self.add(f"{name}.weight", size)
        if bias:
            self.add(f"{name}.bias", size)
