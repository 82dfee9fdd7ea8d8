"""The names of devices, precisions and splits, without importing torch."""

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SPLITS = ("train", "val", "test")
