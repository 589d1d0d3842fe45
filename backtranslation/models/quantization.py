"""Numbers of few bits, by bitsandbytes: a frozen base of 4 bits a weight (QLoRA), AdamW with moments of 8 bits."""

from collections.abc import Callable

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import BitsAndBytesConfig

from backtranslation.models.loading import device
from backtranslation.models.training_steps import TrainingError
from backtranslation.settings.training import Training

# The Trainer's names.
OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit"}


def check_quantization(training: Training) -> None:
    """Raise TrainingError, naming the key, where bitsandbytes cannot do here what the settings ask for."""
    trials: dict[str, Callable[[], object]] = {"lora.quantization": _quantize_weight, "optimizer": _step_in_8_bits}
    for key in training.quantized_keys:
        try:
            trials[key]()
        except Exception as error:  # not installed, or built without what this processor or GPU needs
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TrainingError(f"{key}: bitsandbytes cannot be used on this {device().type}: {said}") from None


def quantization_config(training: Training, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """How the base is held (Dettmers et al. 2023, arXiv 2305.14314), and computed in `dtype`; None: as it is."""
    if training.lora.quantization == "none":
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def switch_off_dropout(model: torch.nn.Module) -> None:
    """Evaluation mode, but for layers of 4 bits.

    On processors with bfloat16, bitsandbytes (0.50) then packs these for inference alone: they would never again have
    a gradient, and say nothing of it.
    """
    for module in model.modules():
        module.training = hasattr(getattr(module, "weight", None), "quant_state")


def copy_adapters(source: PeftModel, target: PeftModel) -> None:
    """Give the target, the same adapters on another form of the base, the weights of the source's."""
    weights = get_peft_model_state_dict(source, save_embedding_layers=False)
    set_peft_model_state_dict(target, {name: weight.cpu() for name, weight in weights.items()})


def _quantize_weight() -> None:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    weight = torch.ones(64, 64, device=device())
    dequantize_4bit(*quantize_4bit(weight, quant_type="nf4", compress_statistics=True))


def _step_in_8_bits() -> None:
    from bitsandbytes.optim import AdamW8bit

    weight = torch.nn.Parameter(torch.ones(64, 64, device=device()))
    weight.grad = torch.ones_like(weight)
    AdamW8bit([weight]).step()
