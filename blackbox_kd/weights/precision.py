"""How matrix products are computed on a CPU."""


def allow_quicker_float32() -> None:
    """Lets matrix products of this process take oneDNN's AVX-512 kernels where these compute in full float32.

    They are twice as fast as MKL's on processors that are not Intel's. With AMX the same setting would round to
    bfloat16 inside, so there it is left alone.
    """
    import torch

    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if flags.get("avx512_bf16") and not flags.get("amx_tile") and not flags.get("amx_bf16"):
        torch.set_float32_matmul_precision("medium")
