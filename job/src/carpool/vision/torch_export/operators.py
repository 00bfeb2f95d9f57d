"""What an exported program may call: a list of names, since torch resolves a target by `getattr`.

torch walks a target from the module `torch`, so "torch.os.system" is one that it would accept and
call. Only the operators listed here pass: tensor computations that touch neither files, processes
nor other tensors' memory. A name stands for all its overloads and for its in-place form.
"""

from __future__ import annotations

import re

from carpool.vision.torch_export.place import Place, shown

_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z0-9_]{1,80})\.([A-Za-z0-9_]{1,80})")

_NAMES = """
__and__ __lshift__ __or__ __rshift__ __xor__ _adaptive_avg_pool2d _adaptive_avg_pool3d
_assert_async _assert_scalar _assert_tensor_metadata _batch_norm_no_update _cdist_forward _conj
_convolution _fft_c2c _fft_c2r _fft_r2c _local_scalar_dense _log_softmax
_native_batch_norm_legit _native_batch_norm_legit_no_training _prelu_kernel _safe_softmax
_scaled_dot_product_attention_math _scaled_dot_product_efficient_attention
_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _shape_as_tensor
_softmax _stack _to_copy _unsafe_index _unsafe_view _upsample_bicubic2d_aa
_upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d _weight_norm
abs absolute acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d add addbmm addcdiv addcmul addmm
addmv addr adjoint affine_grid_generator alias all allclose amax amin aminmax angle any arange
arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort argwhere asin asinh
atan atan2 atanh atleast_1d atleast_2d atleast_3d avg_pool1d avg_pool2d avg_pool3d
baddbmm batch_norm bilinear bitwise_and bitwise_left_shift bitwise_not bitwise_or
bitwise_right_shift bitwise_xor block_diag bmm broadcast_tensors broadcast_to bucketize
cartesian_prod cat cdist ceil celu channel_shuffle chunk clamp clamp_max clamp_min clip clone
col2im column_stack complex concat concatenate conj constant_pad_nd contiguous conv1d conv2d
conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution copy copysign cos cosh
cosine_similarity count_nonzero cross cummax cummin cumprod cumsum
deg2rad detach diag diag_embed diagflat diagonal diff digamma dist div divide dot dropout dsplit
dstack
einsum elu embedding embedding_bag empty empty_like empty_permuted empty_strided eq equal erf
erfc erfinv exp exp2 expand expand_as expm1 eye
feature_dropout fft_fft fft_fft2 fft_fftfreq fft_fftn fft_fftshift fft_ifft fft_ifft2 fft_ifftn
fft_ifftshift fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftfreq fft_rfftn fill fix
flatten flip fliplr flipud float_power floor floor_divide fmax fmin fmod frac frobenius_norm
full full_like
gather ge gelu glu greater greater_equal grid_sampler grid_sampler_2d grid_sampler_3d group_norm
gru gru_cell gt
hardshrink hardsigmoid hardswish hardtanh heaviside hsplit hstack hypot
im2col imag index index_add index_copy index_fill index_put index_reduce index_select inner
instance_norm inverse is_complex is_floating_point is_same_size isclose isfinite isin isinf
isnan isneginf isposinf isreal item
kron kthvalue
layer_norm ldexp le leaky_relu lerp less less_equal lgamma lift lift_fresh lift_fresh_copy
linalg_cross linalg_det linalg_diagonal linalg_inv linalg_matmul linalg_matrix_norm
linalg_multi_dot linalg_norm linalg_solve linalg_vecdot linalg_vector_norm linear linspace log
log10 log1p log2 log_sigmoid log_softmax logaddexp logaddexp2 logcumsumexp logical_and
logical_not logical_or logical_xor logit logspace logsumexp lstm lstm_cell lt
mH mT masked_fill masked_scatter masked_select matmul max max_pool1d max_pool1d_with_indices
max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices maximum mean median
meshgrid min minimum mish mm mode moveaxis movedim msort mul multiply mv
nan_to_num nanmean nanmedian nansum narrow native_batch_norm native_channel_shuffle
native_dropout native_group_norm native_layer_norm ne neg negative new_empty new_empty_strided
new_full new_ones new_zeros nonzero nonzero_static norm not_equal numel numpy_T
one_hot ones ones_like outer
pad pairwise_distance permute pixel_shuffle pixel_unshuffle polar positive pow prelu prod
quantile
rad2deg ravel real reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu relu6
remainder renorm repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d
reshape reshape_as resolve_conj resolve_neg rms_norm rnn_relu rnn_tanh roll rot90 round rsqrt
rsub
scalar_tensor scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted
select select_scatter selu sgn sigmoid sign signbit silu sin sinc sinh size slice slice_scatter
softmax softplus softshrink sort special_entr special_erf special_erfc special_exp2
special_expit special_expm1 special_log1p special_log_softmax special_logit special_logsumexp
special_ndtr special_round special_sinc special_softmax special_xlog1py special_xlogy split
split_with_sizes sqrt square squeeze stack std std_mean sub subtract sum sum_to_size swapaxes
swapdims sym_constrain_range sym_constrain_range_for_size sym_is_contiguous sym_numel sym_size
sym_storage_offset sym_stride
t take take_along_dim tan tanh tensor_split tensordot threshold tile to topk trace transpose
tril tril_indices triu triu_indices true_divide trunc type_as
unbind unflatten unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze
upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
upsample_nearest3d upsample_trilinear3d
var var_mean vdot view view_as view_as_complex view_as_real vsplit vstack
where
xlogy
zero zeros zeros_like
"""

ATEN = frozenset(_NAMES.split())
"""Operators `torch.ops.aten.NAME`, also as `NAME_`, in any overload."""

ON_SIZES = frozenset(
    {
        *(
            f"_operator.{name}"
            for name in (
                *("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pos", "getitem"),
                *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_"),
            )
        ),
        *(
            f"torch.sym_{name}"
            for name in ("float", "int", "ite", "max", "min", "not", "sqrt", "sum")
        ),
        *("math.ceil", "math.floor", "math.trunc"),
    }
)
"""Functions of numbers, on sizes that are known at run time only. No powers or shifts: they could
make numbers of any length."""


def check_target(target: str, place: Place) -> None:
    """Refuse a call target that is not on the list.

    Raises:
        ModelUnsafe: it is not.
    """
    if target in ON_SIZES:
        return
    match = _ATEN.fullmatch(target)
    if match is not None:
        name = match[1]
        in_place = name.endswith("_") and not name.endswith("__")
        if name in ATEN or (in_place and name[:-1] in ATEN):
            return
    raise place.unsafe(
        f"calls {shown(target)}, which is not on the list of known tensor operators",
        "leave it to the handler, or let program.run_decompositions() replace it before saving",
    )
