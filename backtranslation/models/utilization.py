"""Model FLOPs utilization (MFU): operations of a model in a second, as a share of the peak of the GPUs that it is on.

As in Chowdhery et al. 2022 (arXiv 2204.02311, appendix B), what is computed twice to save memory is left out; here
attention is, too.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Operations/s, dense bfloat16, as NVIDIA's data sheets have them; the first name that is found counts. H100 and H200
# without a further name are the SXM cards.
PEAKS = {
    "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12,
    "L4": 121e12,
}  # fmt: skip


def peak_operations(gpu: str) -> float | None:
    """Operations/s at the peak of a GPU by the name that torch gives it; None for one that PEAKS does not name."""
    return next((peak for name, peak in PEAKS.items() if re.search(rf"\b{name}\b", gpu)), None)


def training_operations(model: "torch.nn.Module") -> int:
    """Operations of training for each token: of a weight 2 forward, 2 for the gradient of its input, 2 for its own."""
    return sum(weight.numel() * (6 if weight.requires_grad else 4) for weight in model.parameters())
