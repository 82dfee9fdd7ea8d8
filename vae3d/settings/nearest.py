"""The key that was probably meant by a synonym or a misspelling."""

import re
from collections.abc import Mapping, Sequence, Set
from difflib import SequenceMatcher

from vae3d.bounds import did_you_mean

MIN_SIMILARITY = 0.6

RENAMED: dict[str, str] = {}
"""Keys of earlier versions with their names of today."""

_USUAL_WORDS: dict[tuple[str, ...], str] = {
    ("trainer.lr",): "learning_rate base_lr max_lr peak_lr step_size",
    ("trainer.epochs",): "num_epochs max_epochs n_epochs epoch nepochs",
    ("trainer.steps",): (
        "iterations iters max_steps num_steps max_iters num_iterations total_steps train_steps "
        "num_train_steps max_train_steps"
    ),
    (
        "trainer.batch_size",
    ): "bs batch train_batch_size per_device_batch_size minibatch mini_batch",
    ("trainer.accumulation",): (
        "grad_accum gradient_accumulation accumulate_grad_batches gradient_accumulation_steps "
        "grad_accumulation accum accum_steps"
    ),
    ("trainer.device", "device"): "gpus gpu gpu_id n_gpus num_gpus ngpus cuda accelerator devices",
    ("trainer.precision", "precision", "evaluation.precision"): (
        "amp mixed_precision fp16 bf16 use_amp autocast half float16 bfloat16"
    ),
    ("trainer.optimizer",): "optim optimiser opt",
    ("trainer.train",): "freeze frozen freeze_encoder freeze_decoder trainable train_only",
    ("loss.equivariance.weight",): "eq_vae eqvae equivariance_weight scale_equivariance eq_weight",
    ("loss.latent_noise",): "noise_augmentation latent_noise_std",
    ("trainer.weight_decay",): "wd decay l2",
    ("trainer.warmup_steps",): "warmup lr_warmup num_warmup_steps warmup_iters",
    ("trainer.clip_norm",): (
        "grad_clip clip clip_grad max_grad_norm gradient_clip_val gradient_clip clip_grad_norm"
    ),
    ("trainer.ema_decay",): "ema ema_rate use_ema ema_beta",
    ("trainer.patience",): "early_stopping early_stop",
    ("trainer.val_every",): (
        "val_interval val_check_interval check_val_every_n_epoch eval_every validation_every "
        "eval_interval eval_steps val_freq"
    ),
    ("trainer.checkpoint_every",): "save_every save_interval checkpoint_interval save_steps",
    ("trainer.log_every",): "log_interval logging_steps log_steps print_every log_freq",
    ("trainer.resume", "run"): (
        "checkpoint ckpt ckpt_path checkpoint_path resume_from resume_from_checkpoint"
    ),
    ("trainer.compile",): "torch_compile use_compile",
    ("run",): "model_path weights_path pretrained model_dir run_dir run_folder",
    ("model.latent_channels",): (
        "latent_dim latent_dims latent_size z_dim zdim z_channels z_ch embed_dim n_latent "
        "num_latents latent bottleneck_dim"
    ),
    ("model.in_channels",): "in_ch input_channels n_channels num_input_channels out_channels nc",
    ("model.levels",): (
        "channel_mult ch_mult features hidden_channels num_channels channels block_out_channels "
        "num_res_blocks num_levels depth filters widths strides"
    ),
    ("model.attention.bottleneck",): "attn use_attention attention_levels mid_attention",
    ("model.activation",): "act activation_fn nonlinearity nonlin act_fn",
    ("model.norm",): "normalization normalisation norm_type norm_layer",
    ("model.norm_groups",): "num_groups norm_num_groups groups",
    ("model.checkpointing",): "gradient_checkpointing grad_checkpointing activation_checkpointing",
    ("model.spatial_dims",): "dims ndim n_dims dimensions",
    ("loss.kl_weight",): "kl beta kl_beta kld kld_weight kl_coef lambda_kl kl_lambda kl_scale",
    ("loss.kl_warmup_steps",): "kl_anneal kl_annealing beta_warmup kl_warmup",
    ("loss.adversary.weight",): (
        "adversarial adversary discriminator gan gan_weight adv_weight adversarial_weight "
        "disc_weight discriminator_weight"
    ),
    ("loss.adversary.start_step",): "disc_start discriminator_start gan_start adversarial_start",
    ("loss.terms.l1",): "l1_weight mae_weight recon_weight",
    ("loss.terms.ssim",): "ssim_weight",
    ("loss.terms.mse",): "mse_weight l2_loss l2_weight",
    ("loss",): "loss_fn criterion objective reconstruction_loss recon_loss loss_type",
    ("data.workers", "workers"): "num_workers n_workers nworkers dataloader_workers",
    ("data.root", "input"): (
        "root_dir data_dir data_path dataset_path dataroot dataset_dir path input_dir images "
        "image_dir img_dir train_dir scans"
    ),
    ("data.list",): "csv manifest datalist data_list csv_path data_csv filelist",
    ("data.spacing",): "pixdim voxel_size voxel_spacing resolution target_spacing spacings",
    (
        "data.window",
    ): "hu_window clip_range intensity_range a_min a_max hu_range hu hu_min hu_max clip_values",
    ("data.val_fraction",): "val_split val_size validation_split val_ratio val_frac",
    ("data.test_fraction",): "test_split test_size test_ratio test_frac",
    ("data.cache_gib",): "cache cache_rate cache_size cache_num",
    ("data",): "dataset datasets data_type modality",
    ("patching.size", "evaluation.inference.size", "size"): (
        "patch_size crop_size roi_size roi patch_shape spatial_size image_size img_size cube_size"
    ),
    ("patching.per_volume",): (
        "samples_per_volume num_samples patches_per_volume num_patches patches_per_image"
    ),
    ("patching",): "sampler patch patches",
    ("model",): "architecture net arch backbone",
    ("evaluation.inference.batch_size",): "sw_batch_size eval_batch_size",
    ("evaluation.inference.overlap",): "sw_overlap patch_overlap",
    ("evaluation.metrics",): "metric scores score",
    ("evaluation.save_reconstructions",): "save save_images save_outputs save_recon",
    ("memory", "evaluation.inference.memory"): "max_memory gib gb ram mem vram memory_gb",
    (
        "runs_dir",
        "output",
    ): "output_dir out out_dir outdir save_dir log_dir logdir results_dir dest",
    ("name",): "run_name experiment_name exp_name exp job_name id",
    ("seed",): "random_seed manual_seed random_state rng",
    ("logger",): "use_wandb logging log wandb tensorboard tb",
    ("init_from",): (
        "pretrained pretrained_model pretrained_weights pretrained_path pretrained_from "
        "init_weights load_weights load_from finetune finetune_from warm_start start_from"
    ),
    ("mode",): "inference_mode full",
    ("split",): "subset partition fold",
    ("allow",): "force ignore_weights allow_mismatch",
    ("existing",): "overwrite exist_ok resume",
}
USUAL_WORDS = {word: keys for keys, words in _USUAL_WORDS.items() for word in words.split()}
"""Names of settings in other tools, with keys; the first key that a command has is meant."""


def nearest_key(word: str, keys: Sequence[str]) -> str | None:
    """Return the most similar key, or None; of two equally similar keys the earlier one."""
    plain = word.lower().replace("-", "_").strip("_+~ ")
    usual = _usual_words({*keys})
    by_usual_word = usual.get(plain) or usual.get(plain.rpartition(".")[2])
    return by_usual_word or _by_leaf(plain, keys) or _by_spelling(plain, keys, usual)


def key_hint(word: str, keys: Sequence[str]) -> str:
    """Return `, did you mean X?`, or the choices if there are few and none is similar."""
    near = nearest_key(word, keys)
    if near:
        return f", did you mean {near!r}?"
    return f", choose from {', '.join(keys)}" if len(keys) <= 12 else ""


def unknown_key(key: str, keys: Sequence[str]) -> str:
    """Return why a key cannot be set, with the most similar one that can."""
    if re.sub(r"\.\d+\.", ".N.", key) in keys:
        group = key.split(".")[0]
        return f"{key} does not belong to the chosen option of {group}, choose another {group}="
    return f"unknown key {key!r}{key_hint(key, keys)}"


def no_option(group: str, chosen: str, options: Sequence[str]) -> str:
    """Return that a group has no such option, with the options that it has."""
    visible = [option for option in options if not option.endswith("_schema")]
    near = did_you_mean(chosen, visible) or ","
    return f"{group} has no option {chosen!r}{near} choose from {', '.join(visible)}"


def _usual_words(keys: Set[str]) -> dict[str, str]:
    """Return the names in other tools that mean one of these keys, with this key."""
    meant = {word: [key for key in each if key in keys] for word, each in USUAL_WORDS.items()}
    return {word: available[0] for word, available in meant.items() if available}


def _by_leaf(word: str, keys: Sequence[str]) -> str | None:
    """Return the most similar key with the same last part: trainer.lr for `lr` and `model.lr`.

    Of several, one in as many groups as the word is meant.
    """
    leaf, depth = word.rpartition(".")[2], word.count(".")
    same = [key for key in keys if key.rpartition(".")[2] == leaf]
    return max(
        same, key=lambda key: (-abs(key.count(".") - depth), _similarity(word, key)), default=None
    )


def _by_spelling(word: str, keys: Sequence[str], usual: Mapping[str, str]) -> str | None:
    """Return the key whose spelling, or that of its synonym, is most similar to the word."""
    leaf = word.rpartition(".")[2]
    scored = [
        (max(_similarity(word, key), _within(key.rpartition(".")[2], leaf)), key) for key in keys
    ]
    scored += [
        (max(0.97 * _ratio(leaf, name), _within(name, leaf)), key) for name, key in usual.items()
    ]
    best = max(scored, key=lambda pair: pair[0], default=(0.0, ""))
    return best[1] if best[0] >= MIN_SIMILARITY else None


def _within(name: str, leaf: str) -> float:
    """Return 0.6 to 0.9 if a word has all parts of a name, as random_crop_size of crop_size.

    The larger the share of these parts in the word, the higher; 0 if a part is missing.
    """
    parts, own = name.split("_"), leaf.split("_")
    inside = len(name) > 3 and len(parts) < len(own) and {*parts} <= {*own}
    return 0.6 + 0.3 * len(parts) / len(own) if inside else 0.0


def _similarity(word: str, key: str) -> float:
    """Return the similarity of a word and a key in [0, 1]; the last part counts more."""
    group, _, leaf = word.rpartition(".")
    key_group, _, key_leaf = key.rpartition(".")
    if not group:
        return max(0.98 * _ratio(word, key_leaf), _ratio(word, key))
    return 0.35 * _ratio(group, key_group) + 0.65 * _ratio(leaf, key_leaf)


def _ratio(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second, autojunk=False).ratio()
