"""The options of a .cfg that do not change what a trained network computes.

Two kinds: those that only steer training (or the memory and streams of Darknet's own program) are
ignored whatever their value; those that would change the output are accepted with their neutral
value alone. An option belongs here only if Darknet's forward pass at inference does not read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


NET_IGNORED = _names("""
    B1 B2 adam adversarial_lr angle aspect attention augment_speed badlabels_rejection_percentage
    batch blur burn_in contrastive contrastive_color contrastive_jit_flip cutmix decay
    dynamic_minibatch ema_alpha eps equidistant_point exposure flip gamma gaussian_noise hue
    label_smooth_eps learning_rate learning_rate_min loss_scale max_batches max_chart_loss max_crop
    min_crop mixup momentum mosaic mosaic_bound num_sigmas_reject_badlabels optimized_memory policy
    power resize_step saturation scale scales seq_scales sequential_subdivisions sgdr_cycle
    sgdr_mult show_receptive_field step steps subdivisions time_steps track try_fix_nan
    unsupervised use_cuda_graph weights_reject_freq workspace_size_limit_MB
""")
LAYER_IGNORED = _names("""
    burnin_update clip dont_update learning_rate onlyforward stopbackward stream train_only_bn
    wait_stream
""")
CONVOLUTIONAL_IGNORED = LAYER_IGNORED | _names("angle dot grad_centr")
DROPOUT_IGNORED = LAYER_IGNORED | _names("""
    dropblock dropblock_size_abs dropblock_size_rel probability
""")
# nms_kind and beta_nms say how Darknet's own program drops duplicates; here the job says it.
YOLO_IGNORED = LAYER_IGNORED | _names("""
    beta_nms cls_normalizer counters_per_class delta_normalizer focal_loss ignore_thresh iou_loss
    iou_normalizer iou_thresh iou_thresh_kind jitter label_smooth_eps max max_delta nms_kind
    obj_normalizer objectness_smooth random resize show_details truth_thresh
""")

LAYER_NEUTRAL: Mapping[str, str] = {"dontload": "0", "dontloadscales": "0"}
CONVOLUTIONAL_NEUTRAL: Mapping[str, str] = {
    **LAYER_NEUTRAL,
    "antialiasing": "0",
    "assisted_excitation": "0",
    "bin_output": "0",
    "binary": "0",
    "cbn": "0",
    "coordconv": "0",
    "dilation": "1",
    "flipped": "0",
    "reverse": "0",
    "rotate": "0",
    "stretch": "0",
    "stretch_sway": "0",
    "sway": "0",
    "xnor": "0",
}
MAXPOOL_NEUTRAL: Mapping[str, str] = {
    **LAYER_NEUTRAL,
    "antialiasing": "0",
    "maxpool_depth": "0",
    "maxpool_zero_nonmax": "0",
}
SHORTCUT_NEUTRAL: Mapping[str, str] = {
    **LAYER_NEUTRAL,
    "alpha": "1",
    "beta": "1",
    "weights_normalization": "none",
    "weights_type": "none",
}
UPSAMPLE_NEUTRAL: Mapping[str, str] = {**LAYER_NEUTRAL, "scale": "1"}
YOLO_NEUTRAL: Mapping[str, str] = {**LAYER_NEUTRAL, "new_coords": "0"}
