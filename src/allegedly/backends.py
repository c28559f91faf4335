"""Encoded batches in, logits out: OpenVINO on a CPU, torch on an accelerator.

    backend = open_backend(folder, device="auto")
    backend([{"input_ids": ..., "attention_mask": ...}])   # int64 (n, n_tokens) each -> [float32 (n, n_labels)]

torch is imported only by the function that needs it: a prediction on a CPU starts without it.
"""

import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock

import numpy as np

from allegedly.errors import InputError

Batch = dict[str, np.ndarray]
Backend = Callable[[Iterable[Batch]], list[np.ndarray]]  # the logits of every batch, in order
QUANTIZATION_GROUP = 32  # channels of a token that share a scale while eight-bit weights are multiplied


def open_backend(folder: Path, *, device: str = "auto", threads: int | None = None) -> Backend:
    """Load the model of a bundle for ``device``; raises InputError where the device is not there."""
    device = choose_device(device)
    return cpu_backend(folder, threads=threads) if device == "cpu" else torch_backend(folder, device=device)


def choose_device(device: str) -> str:
    """Turn ``auto`` into the accelerator of this machine, or ``cpu``; check any other name.

    Raises InputError for a device that torch does not know or does not find.
    """
    if device == "cpu" or (device == "auto" and not accelerator_likely()):
        return "cpu"
    if importlib.util.find_spec("torch") is None:
        if device == "auto":
            return "cpu"
        raise InputError(f"device {device!r}: torch is not installed; install it or use --device cpu")
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    if device == "auto":
        return found.type if found else "cpu"
    here = f"here: {', '.join(['cpu'] + ([found.type] if found else []))}"
    try:
        asked = torch.device(device)
    except RuntimeError:
        raise InputError(f"device {device!r} is unknown; use auto, cpu, cuda, mps or xpu ({here})") from None
    if asked.type == "cpu":
        return "cpu"
    if found is None or found.type != asked.type or (asked.index or 0) >= torch.accelerator.device_count():
        raise InputError(f"device {device!r} is not available ({here}); use --device auto or cpu")
    return device


def accelerator_likely() -> bool:
    """Tell without importing torch whether looking for an accelerator is worth the seconds that torch takes to start.

    Intel GPUs (xpu) leave no such trace: name them with ``--device xpu``.
    """
    apple_silicon = platform.system() == "Darwin" and platform.machine() == "arm64"
    return apple_silicon or any(os.path.exists(node) for node in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"))


def cpu_backend(folder: Path, *, threads: int | None = None) -> Backend:
    """Open ``model.onnx`` on the CPU; ``threads`` None takes `available_cores`.

    All threads work on one batch. OpenVINO's queue of requests, one a thread, was 15 % faster and could hang. Where the
    CPU multiplies eight-bit numbers (VNNI), OpenVINO rounds what meets eight-bit weights to eight bits too, token by
    token: what a sentence gets depends on it alone.
    """
    # On import OpenVINO would report its use to Google Analytics, from a thread that a stop can leave waiting for ever.
    sys.modules.setdefault("openvino_telemetry", None)  # cannot be imported: OpenVINO does without
    import openvino

    threads = threads or available_cores()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "CPU_RUNTIME_CACHE_CAPACITY": 256,  # kernels made for shapes seen before; all of them would fill memory
        "INFERENCE_PRECISION_HINT": "f32",  # elsewhere than in these products; bf16 would differ from CPU to CPU
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": QUANTIZATION_GROUP,
    }
    model = openvino.Core().compile_model(str(folder / "model.onnx"), "CPU", settings)
    request, one_at_a_time = model.create_infer_request(), Lock()

    def logits(batches: Iterable[Batch]) -> list[np.ndarray]:
        found = []
        for batch in batches:
            with one_at_a_time:  # a server's threads share the request
                request.infer(batch)
                found.append(request.get_output_tensor().data.copy())
        return found

    return logits


def torch_backend(folder: Path, *, device: str) -> Backend:
    """Open ``model.safetensors`` on ``device``; half precision on an accelerator, full precision on the CPU."""
    import torch
    from transformers import AutoModelForSequenceClassification

    dtype = torch.float32
    if device.startswith("cuda"):
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    elif device != "cpu":
        dtype = torch.float16
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    model = model.to(device).eval()

    @torch.inference_mode()
    def logits(batches: Iterable[Batch]) -> list[np.ndarray]:
        tensors = ({name: torch.from_numpy(array).to(device) for name, array in batch.items()} for batch in batches)
        found = [model(**batch).logits.float() for batch in tensors]  # asked for at once, fetched when all is queued
        return [batch.cpu().numpy() for batch in found]

    return logits


def available_cores() -> int:
    """Cores that this process may run on, which in a container can be fewer than the machine has.

    OMP_NUM_THREADS, where it is set, says how many of them: Spark does so for the processes that it runs at once.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores
