"""Convolutions against plain torch, and the signatures of torch's private operators."""

from typing import Any

import pytest
import torch
from torch.nn.functional import conv2d, conv3d
from torch.profiler import ProfilerActivity, profile

from tests.conftest import assert_same_output
from vae3d.layers.convolution import SafeConv3d
from vae3d.layers.operators import META_OUTPUTS

aten = torch.ops.aten
LAYER_NORM = "(Tensor input, SymInt[] normalized_shape, Tensor? weight"
SIGNATURES: dict[Any, str] = {
    # Called by the convolutions.
    aten.mkldnn_convolution.default: (
        "(Tensor self, Tensor weight, Tensor? bias, SymInt[] padding, SymInt[] stride, "
        "SymInt[] dilation, SymInt groups) -> Tensor"
    ),
    aten.convolution_backward.default: (
        "(Tensor grad_output, Tensor input, Tensor weight, SymInt[]? bias_sizes, SymInt[] stride, "
        "SymInt[] padding, SymInt[] dilation, bool transposed, SymInt[] output_padding, "
        "SymInt groups, bool[3] output_mask) -> (Tensor, Tensor, Tensor)"
    ),
    # Computed on the meta device.
    aten.native_layer_norm.default: (
        f"{LAYER_NORM}, Tensor? bias, float eps) -> (Tensor, Tensor, Tensor)"
    ),
    aten.layer_norm.default: (
        f"{LAYER_NORM}=None, Tensor? bias=None, float eps=1.0000000000000001e-05, "
        "bool cudnn_enable=True) -> Tensor"
    ),
    aten.convolution.default: (
        "(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, "
        "SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups) -> Tensor"
    ),
    aten.conv2d.default: (
        "(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], "
        "SymInt[2] padding=[0, 0], SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor"
    ),
    aten.conv3d.default: (
        "(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], "
        "SymInt[3] padding=[0, 0, 0], SymInt[3] dilation=[1, 1, 1], SymInt groups=1) -> Tensor"
    ),
    aten.conv_transpose2d.input: (
        "(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], "
        "SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, 0], SymInt groups=1, "
        "SymInt[2] dilation=[1, 1]) -> Tensor"
    ),
    aten.conv_transpose3d.input: (
        "(Tensor input, Tensor weight, Tensor? bias=None, SymInt[3] stride=[1, 1, 1], "
        "SymInt[3] padding=[0, 0, 0], SymInt[3] output_padding=[0, 0, 0], SymInt groups=1, "
        "SymInt[3] dilation=[1, 1, 1]) -> Tensor"
    ),
    aten.relu.default: "(Tensor self) -> Tensor",
    aten.leaky_relu.default: "(Tensor self, Scalar negative_slope=0.01) -> Tensor",
    aten.elu.default: (
        "(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor"
    ),
    aten.gelu.default: '(Tensor self, *, str approximate="none") -> Tensor',
    aten.silu.default: "(Tensor self) -> Tensor",
    aten.mish.default: "(Tensor self) -> Tensor",
    aten.hardswish.default: "(Tensor self) -> Tensor",
    aten.tanh.default: "(Tensor self) -> Tensor",
    aten.clamp.default: "(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor",
    aten.exp.default: "(Tensor self) -> Tensor",
    aten.sigmoid.default: "(Tensor self) -> Tensor",
    aten.clone.default: "(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor",
    aten.add.Tensor: "(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
    aten.mul.Tensor: "(Tensor self, Tensor other) -> Tensor",
    aten.cat.default: "(Tensor[] tensors, int dim=0) -> Tensor",
}


@pytest.mark.parametrize("operator", SIGNATURES, ids=str)
def test_private_operators_have_the_signature_that_is_called(operator: Any) -> None:
    """Where another version of torch fails this, read the calls of that operator again."""
    assert str(operator._schema) == f"{operator.name()}{SIGNATURES[operator]}"


def test_every_operator_on_the_meta_device_has_its_signature_tested() -> None:
    assert META_OUTPUTS.keys() <= SIGNATURES.keys()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="a torch without oneDNN")
def test_private_convolutions_compute_what_the_public_ones_do() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, 7, 8, generator=generator)
    weight = torch.randn(4, 3, 3, 3, 3, generator=generator)
    bias = torch.randn(4, generator=generator)
    ours = torch.mkldnn_convolution(x, weight, bias, (0, 1, 2), (1, 2, 3), (1, 1, 1), 1)
    torch.testing.assert_close(ours, conv3d(x, weight, bias, (1, 2, 3), (0, 1, 2)))
    planes, plane_weight = x[:, :, 0], weight[:, :, 0].clone().requires_grad_()
    output = conv2d(planes, plane_weight, padding=1)
    upstream = torch.randn(output.shape, generator=generator)
    (expected,) = torch.autograd.grad(output, plane_weight, upstream)
    ones = (1, 1)
    arguments = (None, ones, ones, ones, False, (0, 0), 1, (False, True, False))
    of_image, of_weight, of_bias = aten.convolution_backward(
        upstream, planes, torch.empty_like(plane_weight), *arguments
    )
    torch.testing.assert_close(of_weight, expected)
    assert of_image is of_bias is None


@pytest.mark.parametrize(
    ("kernel", "size"),
    [(3, (1, 1, 1)), (3, (2, 2, 2)), (3, (2, 9, 9)), (4, (3, 3, 3)), (4, (3, 9, 9))],
    ids=str,
)
def test_bf16_gradients_of_tiny_images_are_float32s(kernel: int, size: tuple[int, ...]) -> None:
    """Where the CPU has bfloat16 kernels, those of torch 2.13 fail this at 2 x 2 x 2."""
    torch.manual_seed(0)
    convolution = SafeConv3d(32, 32, kernel, padding=1)
    weight, bias = convolution.weight, convolution.bias
    image = torch.randn(2, 32, *size, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = convolution(image)
    (found,) = torch.autograd.grad(output.float().square().mean(), weight)
    reference = conv3d(image, weight, bias, padding=1)
    (expected,) = torch.autograd.grad(reference.square().mean(), weight)
    tolerance = 0.02 * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0.02, atol=tolerance)


@pytest.mark.parametrize("size", [(8, 8, 8), (3, 20, 9)], ids=str)
def test_one_float32_image_keeps_out_of_the_slow_kernel(size: tuple[int, ...]) -> None:
    convolution = SafeConv3d(4, 6, 3, padding=1)
    image = torch.randn(1, 4, *size, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        output = convolution(image)
    assert not [event.key for event in recorded.key_averages() if "slow_conv" in event.key]
    plain = conv3d(image, convolution.weight, convolution.bias, padding=1)
    assert_same_output(output, plain, convolution)
    weights = torch.randn_like(plain)
    inputs = (image, convolution.weight)
    for found, expected in zip(
        torch.autograd.grad((output * weights).sum(), inputs),
        torch.autograd.grad((plain * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
