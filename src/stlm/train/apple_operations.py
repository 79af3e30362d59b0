"""Operations of PyTorch that exist on Apple GPUs. Read from PyTorch's own list of them, ``native_functions.yaml``.

KERNELS: the entry, or the one that it names as its ``structured_delegate``, has a function for MPS. Left out are those that
write to a given tensor, those of sparse and quantised tensors, and Fourier transforms. COMPOSED: the entry has one function for
all devices, made of other operations. Here are only those that our parts or similar ones use, because what they call isn't in
the list: ``cummax`` calls ``_cummax_helper``, ``mv`` calls ``addmv``, ``index_put`` calls ``_index_put_impl_``. ON_THE_CPU:
names that stand in a trace on the CPU in place of others.

Newer versions have more. Older ones aren't used: before 2.13 a stable sort wasn't stable there, and int64 was sorted wrongly
(pytorch/pytorch#155560, #181736), so parts that find earlier places by sorting would have read later ones.
"""

from __future__ import annotations

READ_FROM = "2.13"  # version of PyTorch

KERNELS = """
__ilshift__.Scalar __ilshift__.Tensor __irshift__.Scalar __irshift__.Tensor __lshift__.Scalar __lshift__.Tensor
__rshift__.Scalar __rshift__.Tensor _adaptive_avg_pool2d _adaptive_avg_pool2d_backward
_amp_foreach_non_finite_check_and_unscale_ _amp_update_scale_ _assert_async _assert_async.msg _batch_norm_with_update
_batch_norm_with_update.out _cdist_backward _cdist_forward _cholesky_solve_helper _copy_from _copy_from_and_resize
_cummax_helper _cummin_helper _dirichlet_grad _efficientzerotensor _embedding_bag _embedding_bag_backward
_embedding_bag_dense_backward _embedding_bag_forward_only _embedding_bag_per_sample_weights_backward _fused_adam_
_fused_adam_.tensor_lr _fused_adamw_ _fused_adamw_.tensor_lr _fused_rms_norm _fused_sgd_ _fused_sgd_.tensor_lr
_histogramdd_bin_edges _histogramdd_from_bin_cts _histogramdd_from_bin_tensors _index_put_impl_ _linalg_det _linalg_slogdet
_linalg_solve_ex _local_scalar_dense _log_softmax _log_softmax_backward_data _logcumsumexp _lstm_mps _mps_convolution
_mps_convolution_transpose _native_batch_norm_legit _native_batch_norm_legit.no_stats _native_batch_norm_legit.out
_prelu_kernel _prelu_kernel_backward _reshape_alias _sample_dirichlet _scaled_dot_product_attention_math_for_mps _softmax
_softmax_backward_data _standard_gamma _standard_gamma_grad _unique _unique2 _upsample_bicubic2d_aa _upsample_bilinear2d_aa
_upsample_nearest_exact1d _upsample_nearest_exact1d_backward _upsample_nearest_exact2d _upsample_nearest_exact2d_backward
_upsample_nearest_exact3d _upsample_nearest_exact3d_backward _weight_norm_interface _weight_norm_interface_backward acos acos_
acosh acosh_ adaptive_max_pool2d adaptive_max_pool2d_backward add.Tensor add_.Tensor addbmm addbmm_ addcdiv addcdiv_ addcmul
addcmul_ addmm addmm_ addmv addmv_ addr all all.dim amax amin aminmax angle any any.dim argmax argmin as_strided asin asin_
asinh asinh_ atan atan2 atan2_ atan_ atanh atanh_ avg_pool2d avg_pool2d_backward avg_pool3d avg_pool3d_backward baddbmm
baddbmm_ batch_norm_backward bernoulli_.Tensor bernoulli_.float binary_cross_entropy binary_cross_entropy_backward bincount
bitwise_and.Tensor bitwise_and_.Tensor bitwise_left_shift.Tensor bitwise_left_shift_.Tensor bitwise_not bitwise_not_
bitwise_or.Tensor bitwise_or_.Tensor bitwise_right_shift.Tensor bitwise_right_shift_.Tensor bitwise_xor.Tensor
bitwise_xor_.Tensor bmm bucketize.Scalar bucketize.Tensor cat cauchy_ ceil ceil_ cholesky cholesky_inverse clamp clamp.Tensor
clamp_ clamp_.Tensor clamp_max clamp_max.Tensor clamp_max_ clamp_max_.Tensor clamp_min clamp_min.Tensor clamp_min_
clamp_min_.Tensor col2im constant_pad_nd copysign.Tensor copysign_.Tensor cos cos_ cosh cosh_ count_nonzero.dim_IntList
cumprod cumprod_ cumsum cumsum_ digamma digamma_ div.Tensor div.Tensor_mode div_.Tensor div_.Tensor_mode dot elu elu_
elu_backward embedding_dense_backward empty.memory_format empty_strided eq.Scalar eq.Tensor eq_.Scalar eq_.Tensor equal erf
erf_ erfc erfc_ erfinv erfinv_ exp exp2 exp2_ exp_ expm1 expm1_ exponential_ fill_.Scalar fill_.Tensor flip floor floor_
floor_divide floor_divide_.Tensor fmax fmin fmod.Tensor fmod_.Tensor frac frac_ gather gcd gcd_ ge.Scalar ge.Tensor ge_.Scalar
ge_.Tensor gelu gelu_ gelu_backward geometric_ glu glu_backward grid_sampler_2d grid_sampler_2d_backward grid_sampler_3d
grid_sampler_3d_backward gt.Scalar gt.Tensor gt_.Scalar gt_.Tensor hardshrink hardshrink_backward hardsigmoid hardsigmoid_
hardsigmoid_backward hardswish hardswish_ hardswish_backward hardtanh hardtanh_ hardtanh_backward histc histogram.bin_ct
histogram.bins_tensor huber_loss hypot hypot_ i0 i0_ igamma igamma_ igammac igammac_ im2col index.Tensor index_add index_add_
index_copy index_copy_ index_fill_.int_Scalar index_fill_.int_Tensor index_reduce index_reduce_ index_select is_set_to
isin.Scalar_Tensor isin.Tensor_Scalar isin.Tensor_Tensor isnan isneginf isposinf lcm lcm_ le.Scalar le.Tensor le_.Scalar
le_.Tensor leaky_relu leaky_relu_ leaky_relu_backward lerp.Scalar lerp.Tensor lerp_.Scalar lerp_.Tensor lgamma lgamma_
linalg_cholesky_ex linalg_cross linalg_householder_product linalg_inv_ex linalg_lu linalg_lu_factor_ex linalg_qr
linalg_solve_triangular linalg_vector_norm linear linear_backward log log10 log10_ log1p log1p_ log2 log2_ log_ log_normal_
log_sigmoid_backward log_sigmoid_forward logaddexp logaddexp2 logit logit_backward lstm_mps_backward lt.Scalar lt.Tensor
lt_.Scalar lt_.Tensor lu_unpack masked_fill_.Scalar masked_fill_.Tensor masked_scatter_ masked_select max max.dim max_pool2d
max_pool2d_backward max_pool2d_with_indices max_pool2d_with_indices_backward max_pool3d_with_indices
max_pool3d_with_indices_backward max_unpool2d max_unpool3d maximum mean.dim median min min.dim minimum mish mish_
mish_backward mm mps_convolution_backward mps_convolution_transpose_backward mse_loss mse_loss_backward mul.Tensor mul_.Tensor
multinomial nanmedian nansum native_batch_norm native_batch_norm_backward native_dropout native_dropout_backward
native_group_norm native_group_norm_backward native_layer_norm native_layer_norm_backward ne.Scalar ne.Tensor ne_.Scalar
ne_.Tensor neg neg_ nextafter nextafter_ nll_loss2d_backward nll_loss2d_forward nll_loss_backward nll_loss_forward nonzero
nonzero_static norm.ScalarOpt_dim norm.ScalarOpt_dim_dtype normal.Tensor_Tensor normal.Tensor_float normal.float_Tensor
normal_ permute pixel_shuffle pixel_unshuffle polygamma pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor pow_.Scalar pow_.Tensor
prod prod.dim_int random_ random_.from random_.to reciprocal reciprocal_ reflection_pad1d reflection_pad1d_backward
reflection_pad2d reflection_pad2d_backward reflection_pad3d reflection_pad3d_backward relu relu_ remainder.Scalar_Tensor
remainder.Tensor remainder_.Tensor renorm renorm_ repeat repeat_interleave.Tensor replication_pad1d replication_pad1d_backward
replication_pad2d replication_pad2d_backward replication_pad3d replication_pad3d_backward resize_ roll round round.decimals
round_ round_.decimals rsqrt rsqrt_ rsub.Tensor scatter.reduce scatter.src scatter.value scatter.value_reduce scatter_.reduce
scatter_.src scatter_.value scatter_.value_reduce scatter_add scatter_add_ scatter_reduce.two scatter_reduce_.two
searchsorted.Scalar searchsorted.Tensor set_ set_.source_Storage set_.source_Storage_storage_offset set_.source_Tensor sgn
sgn_ sigmoid sigmoid_ sigmoid_backward sign sign_ signbit silu silu_ silu_backward sin sin_ sinc sinc_ sinh sinh_
smooth_l1_loss softplus softplus_backward softshrink softshrink_backward sort.stable special_bessel_j0 special_bessel_j1
special_bessel_y0 special_bessel_y1 special_chebyshev_polynomial_t special_chebyshev_polynomial_u
special_chebyshev_polynomial_v special_chebyshev_polynomial_w special_entr special_erfcx special_hermite_polynomial_h
special_hermite_polynomial_he special_i0e special_i1 special_i1e special_modified_bessel_i0 special_modified_bessel_i1
special_modified_bessel_k0 special_modified_bessel_k1 special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1
special_shifted_chebyshev_polynomial_t special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v
special_shifted_chebyshev_polynomial_w special_spherical_bessel_j0 special_xlog1py special_zeta sqrt sqrt_ std.correction
std_mean.correction sub.Tensor sub_.Tensor sum.dim_IntList tan tan_ tanh tanh_ tanh_backward threshold threshold_
threshold_backward topk trace triangular_solve tril tril_ tril_indices triu triu_ triu_indices trunc trunc_ unfold
unfold_backward uniform_ unique_consecutive unique_dim unique_dim_consecutive upsample_bicubic2d upsample_bicubic2d_backward
upsample_bilinear2d upsample_bilinear2d_backward upsample_linear1d upsample_linear1d_backward upsample_nearest1d
upsample_nearest1d_backward upsample_nearest2d upsample_nearest2d_backward upsample_nearest3d upsample_nearest3d_backward
upsample_trilinear3d upsample_trilinear3d_backward var.correction var_mean.correction vdot view view_as_complex view_as_real
where.self xlogy.Tensor xlogy_.Tensor zero_
""".split()

COMPOSED = """
_foreach_add.List _foreach_add.Scalar _foreach_add_.List _foreach_add_.Scalar _foreach_add_.ScalarList
_foreach_addcdiv_.Scalar _foreach_addcdiv_.ScalarList _foreach_addcmul_.Scalar _foreach_copy_ _foreach_div.Scalar
_foreach_div_.List _foreach_div_.Scalar _foreach_div_.ScalarList _foreach_lerp.Scalar _foreach_lerp_.List
_foreach_lerp_.Scalar _foreach_mul.List _foreach_mul.Scalar _foreach_mul.ScalarList _foreach_mul_.List _foreach_mul_.Scalar
_foreach_mul_.ScalarList _foreach_mul_.Tensor _foreach_neg _foreach_norm.Scalar _foreach_pow.List _foreach_sqrt _foreach_sqrt_
_foreach_sub.List _foreach_sub_.List _foreach_zero_ _to_copy _unsafe_view abs abs_ add.Scalar add_.Scalar alias arange
arange.start arange.start_step bernoulli binary_cross_entropy_with_logits bitwise_and.Scalar bitwise_left_shift.Tensor_Scalar
bitwise_or.Scalar bitwise_right_shift.Tensor_Scalar bitwise_xor.Scalar clone copy copy_ cummax cummin detach detach_ diagonal
div.Scalar div_.Scalar embedding empty_like expand expand_copy fill.Scalar fill.Tensor floor_divide.Scalar fmod.Scalar
fmod_.Scalar full full_like index_fill.int_Scalar index_put index_put_ isinf lift lift_fresh lift_fresh_copy logical_and
logical_and_ logical_not logical_or logical_or_ logical_xor logsumexp masked_fill.Scalar masked_fill.Tensor masked_scatter
mean mul.Scalar mul_.Scalar mv new_empty new_empty_strided new_full new_ones new_zeros ones ones_like rand rand_like randint
randint.low randn randn_like remainder.Scalar remainder_.Scalar rsub.Scalar scalar_tensor select.int select_backward
select_scatter slice.Tensor slice_backward slice_scatter sort split.Tensor split_with_sizes squeeze squeeze.dim squeeze.dims
squeeze_.dim stack sub.Scalar sub_.Scalar sum t t_ transpose.int transpose_ unbind.int unsqueeze unsqueeze_ zeros zeros_like
""".split()

# Attention is composed there, or it is _scaled_dot_product_attention_math_for_mps. The other two only name a span of time.
ON_THE_CPU = """
_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention_for_cpu_backward
profiler::_record_function_enter_new profiler::_record_function_exit._RecordFunction
""".split()

OPERATIONS = frozenset([*KERNELS, *COMPOSED, *ON_THE_CPU])
