"""Cases of what frameworks print: Keras by version, Hugging Face, Lightning, fastai, ignite, ultralytics."""

from oracle.case import Case, batches, case
from oracle.plain_cases import BS2, BS3, SUMS

KERAS = [
    # The third seed's lines are running averages of items, painted after 1, 5, 9, … of 24 steps.
    case(
        "seed002_keras_progress_line",
        [
            {"epoch": 0, "batch": batch, "loss": loss, "batch_size": 1}
            for batch, loss in [
                (0, 4.1276), (4, -2.0592), (8, -2.6107), (12, -0.484), (16, -1.8741), (20, -2.4558),
                (23, -2.1474),
            ]
        ],
        tolerance=1e-9,
        interval_means=(
            "10319/2500 -36059/10000 -132003/40000 172043/40000 -255677/40000 -197121/40000 57/5000"
        ),
        interval_lengths="1 4 4 4 4 4 3", epoch_sum="-32211/625", epoch_mean="-10737/5000",
    ),
    case(
        "keras_sum_reduction_report", batches(*SUMS, reduction="sum"),
        per_item=3, total=24, keras_reported="17/2",
    ),
    # Keras divides by N, not by the sum of the sample weights: the number scales with them.
    case(
        "keras_sample_weight_sum_over_batch_size", batches([8 / 3, 2.5, 3.0], [3, 3, 2]),
        batch="8/3 5/2 3", size_weighted="43/16", per_item="43/16", running="8/3 31/12 43/16",
    ),
    # Two outputs, |x| and x², with loss weights 1 and 1/2.
    case(
        "keras_multi_output",
        [
            *batches([67 / 6, 47 / 6, 4.5], [3, 3, 2]),
            *batches(*BS3, series="a_loss"),
            *batches([15.0, 29 / 3, 5.0], [3, 3, 2], series="b_loss"),
        ],
        batch="67/6 47/6 9/2", size_weighted="33/4", running="67/6 19/2 33/4", a_loss=3, b_loss="21/2",
    ),
    case(
        "keras3_bar_before_3_15", batches(*BS3), mean_of_running_means="11/3 7/2 10/3",
        running="11/3 10/3 3", size_weighted=3,
    ),
    case(
        "keras3_final_line_before_3_11_bs3", batches(*BS3), size_weighted=3, printed_final_line="13/4",
    ),
    case(
        "keras3_final_line_before_3_11_bs2", batches(*BS2), size_weighted=3, printed_final_line="211/60",
    ),
    case(
        "keras30_epoch_unweighted", batches(*BS3),
        batch_mean="26/9", size_weighted=3, keras_reported="26/9",
    ),
    case(
        "keras225_batch_logs", batches(*BS3), batch="11/3 3 2", running="11/3 10/3 3", size_weighted=3,
    ),
]  # fmt: skip

HUGGING_FACE = [
    case(
        "hf_eval_loss", batches([3.5, 2.0], [3, 1], weight=[6, 1]),
        size_weighted="25/8", per_item="23/7", hf_eval_loss="25/8",
    ),
    # Micro-batches of 6 and 1 tokens make one step.
    case(
        "accumulation_window_tokens", batches([4.0, 1.0], [2, 2], weight=[6, 1], step=0),
        per_item="25/7", batch_mean="5/2", hf_before_oct_2024="5/2", hf_num_items_in_batch="25/7",
    ),
    # The same, returned as 24/7 and 1/7: already divided by the window's 7 tokens, so they add.
    case(
        "hf_micro_losses_with_num_items",
        batches(
            [24 / 7, 1 / 7], [2, 2], weight=[6, 1], step=0, reduction="sum_over_window", window_items=7
        ),
        sum_of_micro_losses="25/7", per_item="25/7", batch="4 1",
    ),
    case("hf_logging_steps_2", batches([3.75, 2.25], [4, 4]), batch_mean=3, hf_logged=3),
    case("hf_last_short_step", batches(*BS3), batch_mean="26/9", per_item=3, hf_logged="26/9"),
    case(
        "hf_nan_filter_two_of_three", batches([3.0, "NaN", "NaN"], [1] * 3),
        per_item=3, nonfinite=2, hf_logged=2,
    ),
]  # fmt: skip

OTHERS = [
    case("fastai_smooth_loss", batches(*BS3), ema_debiased_098="11/3 989/297 63461/22053"),
    case(
        "ignite_running_average", batches(*BS3),
        running_average_two_epochs=(
            "11/3 274/75 6788/1875 339487/93750 16916113/4687500 838264537/234375000"
        ),
    ),
    case("ultralytics_tloss", batches(*BS3), running_batch_mean="11/3 10/3 26/9"),
    case("lightning_epoch", batches(*BS3), size_weighted=3, lightning_reported=3),
    case("lightning_reduce_fx_sum", batches(*BS3), raw_sum="26/3", lightning_reported="26/3"),
]  # fmt: skip

FRAMEWORKS: list[Case] = [*KERAS, *HUGGING_FACE, *OTHERS]
