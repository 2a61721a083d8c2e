from __future__ import annotations

import numpy as np
import pytest

from reportgen.figures import captions
from reportgen.scores import HeadScores, HeadSet
from tests.figures import samples
from tests.figures.samples import head_set


def computed(name: str, *heads: tuple[int, int], task: str = "ioi") -> HeadSet:
    return HeadSet(f"circuits/{task}/{name}", "Name-Mover Heads", heads, "Computed on this model (IOI)",
                   "computed: IOI on this model", "rule")  # fmt: skip


def test_a_models_printed_name_is_its_title_or_the_papers() -> None:
    assert captions.model_name(samples.view(title="Mine")) == "Mine"
    assert captions.model_name(samples.view(hub_id="openai-community/gpt2-medium")) == "GPT-2 medium"
    assert captions.model_name(samples.view(id="my/model", hub_id="")) == "my/model"
    assert (
        captions.grid_words(samples.view(3, 4, n_kv_heads=2))
        == "GPT-2 (3 layers × 4 heads, 2 key-value heads per layer)"
    )


def test_heads_at_the_threshold_are_counted_in_whole_hits() -> None:
    values = np.array([[6 / 40, 5 / 40, 7 / 40]], np.float32)  # 6 of 40 is 0.15, though float32 says 0.15000001
    shares = samples.scores(1, 3, values=values, low=None, high=None)
    assert captions.at_least(shares, 0.15) == 2
    plain = HeadScores("a/b/c", "x", np.array([[0.2, 0.1]], np.float32), 0, no_null="none")
    assert captions.at_least(plain, 0.15) == 1


def test_the_null_is_told_by_p_by_line_or_by_its_absence() -> None:
    p = np.ones((3, 4), np.float32)
    p[1, 2], p[0, 0] = 0.05, np.nan
    assert captions.beats_null(samples.scores(dead=[(0, 0)], p=p)) == (
        "1 of 11 heads beats the null (family-wise p ≤ 0.05)."
    )
    line = samples.scores(p=None, line=0.1)
    assert (
        captions.beats_null(line)
        == f"{int((line.values > 0.1).sum())} of 12 heads are above the family-wise line 0.100."
    )
    assert captions.beats_null(samples.signed()) == "No null line: not drawn."


def test_the_extremes_come_with_their_intervals_and_a_caveat() -> None:
    scores = samples.scores(hot={(2, 1): 0.9})
    assert captions.best_head(scores) == "Highest: L2H1 at 0.900 [0.800, 1.000]."
    assert captions.caveat([scores]).endswith("12 heads.")
    effects = samples.signed()
    assert captions.best_head(effects, signed=True) == "Highest: L2H3 at 0.310; lowest: L0H0 at −0.270."
    assert captions.caveat([effects]) == ""
    assert captions.best_head(samples.scores(1, 1, dead=[(0, 0)])) == ""
    assert captions.best_head(samples.scores(values=np.zeros((3, 4), np.float32))) == "Every head scores 0.000."


def test_missing_heads_are_counted_by_reason() -> None:
    reasons = {"L0H0": "inactive.", "L0H1": "non-finite weights", "L0H2": "inactive."}
    scores = samples.scores(dead=[(0, 0), (0, 1), (0, 2)], reasons=reasons)
    assert captions.missing(scores) == (
        "Grey, struck through: 3 heads not computed (inactive (2); non-finite weights (1))."
    )
    assert captions.missing(samples.scores()) == ""


def test_markers_are_named_with_who_says_so_and_heads_off_the_grid() -> None:
    sets = [
        head_set("a", (0, 0)),
        head_set("b", (0, 1), (9, 9), label="Others", verified=False),
        head_set("c", (50, 0), label="Elsewhere"),
        computed("name_movers", (1, 1)),
    ]
    assert captions.markers(sets, (3, 4)) == (
        "Marked: dots, Name-Mover Heads (Wang et al. 2022); squares, Others (Wang et al. 2022, unconfirmed list); "
        "crosses, Name-Mover Heads (computed: IOI on this model). Outside this grid, not drawn: L50H0, L9H9."
    )
    assert captions.markers([], (3, 4)) == ""


def test_agreement_counts_published_heads_found_here() -> None:
    published = head_set("name_mover_heads", (0, 0), (1, 1), (2, 2), (2, 3), (0, 3))
    found = computed("name_movers", (0, 0), (1, 1), (2, 2), (2, 3), (1, 0))
    assert captions.agreement([published, found]) == ("Name-Mover Heads: 4 of 5 agree with the 5 computed here.")
    assert captions.agreement([published, computed("backups", (0, 0))]) == ""
    assert captions.agreement([published]) == ""


@pytest.mark.parametrize(
    ("key", "role"),
    [
        ("published/wang2022ioi/name_mover_heads", "mover"),
        ("published/merullo2023reuse/mover_heads", "mover"),
        ("circuits/ioi/name_movers", "mover"),
        ("published/wang2022ioi/negative_name_mover_heads", "negative"),
        ("published/merullo2023reuse/negative_mover_head", "negative"),
        ("circuits/ioi/negative_movers", "negative"),
        ("published/wang2022ioi/backup_name_mover_heads", "backup"),
        ("circuits/ioi/backups", "backup"),
        ("optional/wang2022ioi/backup_negative_name_mover_heads", "backup_negative"),
        ("attention/repeated_tokens/induction_heads", "induction"),
        ("published/garcia2024acronyms/letter_mover_heads", ""),
        ("optional/merullo2023reuse/mover_heads_additional", ""),
        ("published/mcdougall2023copysuppression/negative_heads", ""),
    ],
)
def test_roles_are_read_from_keys(key: str, role: str) -> None:
    assert captions.role(head_set(key=key)) == role


def test_a_map_draws_the_sets_of_its_roles_published_first_and_the_users_always() -> None:
    user = head_set(key="user/mine/x", kind="user")
    sets = [
        computed("name_movers", (0, 0)),
        computed("name_movers", (0, 0), task="capitals"),
        user,
        head_set("negative_name_mover_heads"),
        head_set("backup_name_mover_heads"),
        head_set("name_mover_heads"),
        head_set(key="optional/wang2022ioi/name_mover_heads"),
        computed("backups"),  # nobody
    ]
    chosen = captions.choose(samples.view(sets=sets), "mover", "backup", tasks=("circuits/ioi/",))
    assert [s.key for s in chosen] == [
        "published/wang2022ioi/name_mover_heads",
        "published/wang2022ioi/backup_name_mover_heads",
        "circuits/ioi/name_movers",
        "user/mine/x",
    ]
    assert [s.key for s in captions.choose(samples.view(sets=sets), "mover", papers=())] == [user.key]
    assert [s.key for s in captions.choose(samples.view(sets=sets))] == [user.key]


def test_numbers_have_a_true_minus_and_never_round_to_nothing() -> None:
    assert [captions.number(v) for v in (0.15, -0.27, 0.0, 0.000012)] == ["0.150", "−0.270", "0.000", "1.20e−05"]
    assert [captions.percent(v) for v in (0.02, 0.025, 0.934, 1.0)] == ["2 %", "2.5 %", "93 %", "100 %"]
