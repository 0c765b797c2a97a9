"""Cases of plain arithmetic: the seeds' items, weights, what is left out, ranks, passes and attempts."""

from oracle.case import Case, batches, case

# The first seed's eight items 4 5 2 4 3 2 3 1 in batches of 3; they add to 24, their mean is 3.
BS3 = ([11 / 3, 3.0, 2.0], [3, 3, 2])
BS2 = ([4.5, 3.0, 2.5, 2.0], [2] * 4)
SUMS = ([11.0, 9.0, 4.0], [3, 3, 2])

SEED = [
    case(
        "seed000_bs2", batches(*BS2), raw_sum=12, normalized_sum=24, batch_mean=3, size_weighted=3,
        per_item=3, total=24, items=8, batches=4, batch="9/2 3 5/2 2", running="9/2 15/4 10/3 3",
        last_batch=2, min=2, max="9/2", item_var_est="7/3", item_var_diff="11/12", se_sq="7/24",
    ),
    case(
        "seed000_bs4", batches([3.75, 2.25], [4, 4]), raw_sum=6, normalized_sum=24, batch_mean=3,
        size_weighted=3, per_item=3, total=24, items=8, batches=2, batch="15/4 9/4", running="15/4 3",
        item_var_est="9/2", se_sq="9/16",
    ),
    # The seed prints an item total of 23.0; its items add to 24.
    case("seed000_total_erratum", batches([3.0], [8]), total=24, per_item=3, items=8),
    case(
        "seed000_bs1", batches([4.0, 5.0, 2.0, 4.0, 3.0, 2.0, 3.0, 1.0], [1] * 8), raw_sum=24,
        normalized_sum=24, batch_mean=3, size_weighted=3, per_item=3, total=24, items=8, batches=8,
        batch="4 5 2 4 3 2 3 1", running="4 9/2 11/3 15/4 18/5 10/3 23/7 3",
    ),
    case(
        "seed000_bs3_short_last", batches(*BS3), raw_sum="26/3", normalized_sum=26, batch_mean="26/9",
        size_weighted=3, per_item=3, total=24, items=8, batches=3, batch="11/3 3 2",
        running="11/3 10/3 3", running_batch_mean="11/3 10/3 26/9", mean_of_running_means="11/3 7/2 10/3",
        last_batch=2, item_var_est="5/3", se_sq="5/24",
    ),
    case(
        "seed000_reading_at_bs10", batches([1.0] * 20, [10] * 20),
        raw_sum=20, normalized_sum=200, per_item=1, batches=20,
    ),
    case(
        "seed000_reading_at_bs20", batches([1.0] * 10, [20] * 10),
        raw_sum=10, normalized_sum=200, per_item=1, batches=10,
    ),
    case("seed001_mse_mean", batches([0.065], [2]), tolerance=1e-6, per_item="13/200", total="13/100"),
    case(
        "seed001_mse_sum", batches([0.13], [2], reduction="sum"), tolerance=1e-6,
        raw_sum="13/100", per_item="13/200", total="13/100",
    ),
    # The seed calls Σ weight × error ÷ items a weighted average; that one divides by Σ weight.
    case(
        "seed001_weighted_average_slip", batches([0.075], [2], weight=1.0), tolerance=1e-6,
        per_item="3/40", text_reduce_mean="3/80",
    ),
]  # fmt: skip

WEIGHTS = [
    case(
        "sum_reduction_bs3", batches(*SUMS, reduction="sum"), raw_sum=24, normalized_sum=26,
        batch_mean="26/9", size_weighted=3, per_item=3, total=24, items=8, batches=3, batch="11/3 3 2",
        running="11/3 10/3 3", weight=8,
    ),
    # Items 4 5 2 4 3 2 3 1 of classes 0 1 1 2 0 2 2 1 with weights 1, 3, 1/2; any batching reads the same.
    case(
        "torch_class_weights_bs2",
        batches([4.75, 16 / 7, 8 / 3, 9 / 7], [2] * 4, weight=[4.0, 3.5, 1.5, 3.5]),
        per_item="71/25", size_weighted="923/336", batch_mean="923/336", weight="25/2", total="71/2",
    ),
    case(
        "torch_class_weights_bs8", batches([2.84], [8], weight=12.5),
        per_item="71/25", size_weighted="71/25", batch_mean="71/25", weight="25/2", total="71/2",
    ),
    # Token losses [4, 5, 2, 4] [3] and [3] [2], two sequences a batch.
    case(
        "tokens_ignore_index_bs2", batches([3.6, 2.5], [2, 2], weight=[5, 2]), batch="18/5 5/2",
        per_item="23/7", size_weighted="61/20", batch_mean="61/20", weight=7, items=4,
    ),
    case(
        "all_targets_ignored", batches([3.0, "NaN", 2.0], [4] * 3, weight=[10, 0, 5]),
        per_item="8/3", empty=1, nonfinite=0, batches=2, batch_mean="5/2",
    ),
    case(
        "nan_and_inf_do_not_poison", batches([4.0, "NaN", 2.0, "Infinity", 3.0], [2] * 5),
        per_item=3, batch_mean=3, raw_sum=9, nonfinite=2, batches=3, items=6, batch="4 - 2 - 3",
    ),
    case(
        "regulariser_in_mean",
        [
            *batches([25 / 6, 3.5, 2.5], [3, 3, 2]),
            *batches(*BS3, series="data_part"),
            *batches([0.5] * 3, [3, 3, 2], series="regulariser_part"),
        ],
        size_weighted="7/2", per_item="7/2", data_part=3, regulariser_part="1/2",
    ),
    # Counted once for each batch, a regulariser of a summed loss makes per item depend on the batch size.
    case(
        "regulariser_in_sum_bs2",
        [
            *batches([11.0, 8.0, 7.0, 6.0], [2] * 4, reduction="sum"),
            *batches([9.0, 6.0, 5.0, 4.0], [2] * 4, reduction="sum", series="data_part"),
        ],
        raw_sum=32, per_item=4, data_part=3,
    ),
    case(
        "cancellation_needs_compensation", batches([1e16, 1.0, -1e16], [1] * 3),
        raw_sum=1, per_item="1/3", total=1,
    ),
    case(
        "downsample_two_batches_per_bucket", batches(*BS3), per_item=3, bucket_means="10/3 2",
        bucket_sum_w="6 2", bucket_sum_wx="20 4", bucket_min="3 2", bucket_max="11/3 2",
        wrong_mean_of_bucket_means="8/3", merged_mean=3,
    ),
    case("item_ema_bs2", batches(*BS2), item_ema_half2="9/2 7/2 41/14 73/30"),
]  # fmt: skip

LOOPS = [
    case(
        "grad_accumulation_scaled_value_logged",
        batches([2.25, 1.5, 1.25, 1.0], [2] * 4, divisor=2, step=[0, 0, 1, 1]),
        raw_sum=12, per_item=3, batch_mean=3, raw_sum_without_divisor=6, window_means="15/4 9/4",
    ),
    # The first evaluation of each step is what optimizer.step returns; the mean of all six calls is no view.
    case(
        "lbfgs_closure",
        [
            {"epoch": 0, "batch": batch, "loss": loss, "batch_size": 8, "closure_eval": number}
            for batch, calls in enumerate([(4.0, 3.5, 2.25, 2.0), (2.0, 1.75)])
            for number, loss in enumerate(calls)
        ],
        per_item=3, batches=2, items=16, batch="4 2", naive_mean_all_calls="31/12",
    ),
    case(
        "checkpoint_recompute",
        [
            {"epoch": 0, "batch": batch, "loss": loss, "batch_size": 4, "recompute": is_again}
            for batch, loss in enumerate([3.0, 1.0])
            for is_again in (False, True)
        ],
        raw_sum=4, batches=2, per_item=2,
    ),
    # Three calls of the criterion, one backward: what was trained is their sum.
    case(
        "per_timestep_criterion",
        [
            {"epoch": 0, "batch": 0, "loss": float(call + 1), "batch_size": 4, "call": call}
            for call in range(3)
        ],
        objective_of_the_step=6, mean_per_call=2, n_optimizer_steps=1,
    ),
    case(
        "ddp_merge_tokens",
        [
            *batches([4.0, 2.0], [2, 2], rank=0, weight=[6, 2]),
            *batches([1.0, 3.0], [2, 2], rank=1, weight=[2, 10]),
        ],
        per_item=3, weight=20, total=60, size_weighted="5/2", rank0_only="7/2", mean_of_rank_means="37/12",
        ddp_objective_step0="5/2", pooled_step0="13/4",
    ),
    # Items 4 5 2 4 3 2 3 on two ranks: the sampler gives item 0 twice. Without it, by itself:
    case(
        "distributed_sampler_padding",
        [
            *batches([3.0], [4], rank=0),
            *batches([3.75], [4], rank=1),
            *batches([3.0], [4], rank=0, series="exact_without_duplicates"),
            *batches([11 / 3], [3], rank=1, series="exact_without_duplicates"),
        ],
        traits={"dataset_items": 7},
        per_item="27/8", items=8, dataset_size=7, n_duplicates=1, exact_without_duplicates="23/7",
        coverage="8/7",
    ),
    case(
        "ranks_raw_sum_of_means",
        [
            *batches([4.0, 3.0], [2, 2], rank=0),
            *batches([2.0, 1.0], [1, 2], rank=1),
        ],
        raw_sum=5, per_item="18/7", batch_mean="5/2", batches=4, global_batches=2,
    ),
    case(
        "two_validation_passes",
        [
            *batches([4.0, 3.0], [2, 2]),
            *batches([4.0], [2], split="val", pass_no=0),
            *batches([2.0, 3.0], [2, 1], split="val", pass_no=1),
        ],
        **{"train.per_item": "7/2", "val.per_item": "7/3", "val.batches": 2},
    ),
    case(
        "attempt_hides_what_comes_after_its_start",
        [
            *({"epoch": epoch, "batch": 0, "loss": 5.0 - epoch, "batch_size": 2} for epoch in range(3)),
            {"epoch": 1, "batch": 0, "loss": 3.5, "batch_size": 2, "attempt": 1},
        ],
        **{"epoch0.per_item": 5, "epoch1.per_item": "7/2", "epoch2.per_item": None},
    ),
]  # fmt: skip

PLAIN: list[Case] = [*SEED, *WEIGHTS, *LOOPS]
