"""Visits are disjoint over ranks, complete, repeatable, and resume in the middle of an epoch."""

from collections import Counter

import pytest

from brainmvp_lightning.datamodules.ordering import dataset_shares
from brainmvp_lightning.datamodules.sampling import SampleRequest, StudySampler, draw_visit


def batches(**options: int) -> list[list[SampleRequest]]:
    return list(StudySampler(10, batch_size=2, seed=3, **options))


def test_each_study_is_visited_once_an_epoch_over_all_ranks() -> None:
    ranks = [batches(rank=rank, world_size=3) for rank in range(3)]
    assert [len(rank) for rank in ranks] == [2, 2, 2]
    counted = [r.study for rank in ranks for batch in rank for r in batch if r.weight > 0]
    assert Counter(counted) == dict.fromkeys(range(10), 1)


def test_two_ranks_see_what_one_process_with_twice_the_batch_sees() -> None:
    one = list(StudySampler(12, batch_size=4, seed=3))
    two = [list(StudySampler(12, batch_size=2, seed=3, rank=r, world_size=2)) for r in (0, 1)]
    assert [first + second for first, second in zip(*two, strict=True)] == one


def test_the_uneven_end_weighs_as_many_studies_as_it_has() -> None:
    # 10 studies in steps of 2 x 2: the last step has 2 studies on 4 places.
    last = [batches(rank=rank, world_size=2)[-1] for rank in range(2)]
    assert [[r.weight for r in rank] for rank in last] == [[2.0, 2.0], [0.0, 0.0]]
    assert {r.num_studies for rank in last for r in rank} == {2}


def test_orders_differ_between_epochs_and_repeat_between_runs() -> None:
    sampler = StudySampler(10, batch_size=2, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert [r.study for b in first for r in b] != [r.study for b in second for r in b]
    assert not {r.key for b in first for r in b} & {r.key for b in second for r in b}
    again = StudySampler(10, batch_size=2, seed=3)
    again.set_epoch(1)
    assert list(again) == second


def test_validation_repeats_itself() -> None:
    sampler = StudySampler(4, batch_size=2, seed=3, purpose="val")
    first = list(sampler)
    sampler.set_epoch(7)
    assert list(sampler) == first
    assert [r.study for b in first for r in b] == [0, 1, 2, 3]


def test_starting_inside_an_epoch_leaves_out_what_was_seen() -> None:
    sampler = StudySampler(10, batch_size=2, seed=3)
    sampler.set_epoch(2)
    whole = list(sampler)
    resumed = StudySampler(10, batch_size=2, seed=3)
    resumed.start_at(2, 6)
    resumed.set_epoch(2)  # the trainer announces the epoch again
    assert list(resumed) == whole[3:]
    assert len(resumed) == 5
    resumed.set_epoch(3)
    assert len(list(resumed)) == 5


def test_the_rest_of_an_epoch_can_be_shared_by_another_number_of_ranks() -> None:
    first = batches(rank=0, world_size=1)[:2]  # 4 of 10 visits
    ranks = [StudySampler(10, batch_size=1, seed=3, rank=rank, world_size=3) for rank in range(3)]
    for rank in ranks:
        rank.start_at(0, 4)
    rest = [list(rank) for rank in ranks]
    assert [len(rank) for rank in rest] == [2, 2, 2]
    counted = [r for rank in (first, *rest) for batch in rank for r in batch if r.weight > 0]
    assert Counter(r.study for r in counted) == dict.fromkeys(range(10), 1)
    whole = {r.study: r.key for batch in batches() for r in batch}
    assert {r.study: r.key for r in counted} == whole


def test_nothing_to_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to sample"):
        StudySampler(0, batch_size=2, seed=0)


REQUEST = SampleRequest(study=0, key=5, batch_key=9, weight=1.0, num_studies=1)


def test_a_visit_depends_on_its_key_alone() -> None:
    first = draw_visit(REQUEST, 4, (50, 60, 70), (48, 48, 48))
    assert first == draw_visit(REQUEST, 4, (50, 60, 70), (48, 48, 48))
    others = [
        draw_visit(SampleRequest(0, key, 9, 1.0, 1), 4, (50, 60, 70), (48, 48, 48))
        for key in range(50)
    ]
    assert len({visit.targets[0] for visit in others}) == 4
    assert len({visit.start for visit in others}) > 40


def test_a_partner_is_another_scan_of_the_study() -> None:
    for key in range(30):
        visit = draw_visit(SampleRequest(0, key, 9, 1.0, 1), 3, (8, 8, 8), (8, 8, 8))
        for target, partners in zip(visit.targets, visit.partners, strict=True):
            assert sorted((target, *partners)) == [0, 1, 2]


def test_a_lone_scan_has_no_partner() -> None:
    assert draw_visit(REQUEST, 1, (8, 8, 8), (8, 8, 8)).partners == ((),)


def test_crops_lie_inside_and_small_studies_are_centred() -> None:
    for key in range(40):
        visit = draw_visit(SampleRequest(0, key, 9, 1.0, 1), 2, (10, 8, 5), (8, 8, 8))
        assert 0 <= visit.start[0] <= 2
        assert visit.start[1] == 0
        assert visit.start[2] == -1  # three voxels are missing, one before and two behind


def test_all_modalities_are_targets_when_asked() -> None:
    visit = draw_visit(REQUEST, 3, (8, 8, 8), (8, 8, 8), all_modalities=True)
    assert visit.targets == (0, 1, 2)


def test_a_shared_modality_is_the_same_for_all_samples_of_a_step() -> None:
    visits = [
        draw_visit(SampleRequest(0, key, 9, 1.0, 1), 4, (8, 8, 8), (8, 8, 8), shared_modality=True)
        for key in range(10)
    ]
    assert len({visit.targets[0] for visit in visits}) == 1


def test_studies_can_be_forced_to_a_number_of_series() -> None:
    visit = draw_visit(REQUEST, 6, (8, 8, 8), (8, 8, 8), series=4)
    assert len(visit.targets) == 4
    assert all(partner in visit.targets for partner in visit.partners[0])


def test_a_scan_of_weight_zero_is_neither_target_nor_partner() -> None:
    for key in range(30):
        request = SampleRequest(0, key, 9, 1.0, 1)
        visit = draw_visit(request, 4, (8, 8, 8), (8, 8, 8), scan_weights=(1, 0, 1, 1))
        assert {*visit.targets, *visit.partners[0]} == {0, 2, 3}


def test_targets_follow_the_weights_of_scans() -> None:
    counts = Counter(
        draw_visit(
            SampleRequest(0, key, 9, 1.0, 1), 3, (8, 8, 8), (8, 8, 8), scan_weights=(1, 2, 5)
        ).targets[0]
        for key in range(4000)
    )
    # Standard deviations of the counts are below 32.
    assert [counts[scan] for scan in range(3)] == pytest.approx([500, 1000, 2500], abs=120)


def test_a_study_without_a_usable_scan_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scan that may be used"):
        draw_visit(REQUEST, 2, (8, 8, 8), (8, 8, 8), scan_weights=(0, 0))


def test_shares_of_data_sets_hold_in_every_epoch_and_no_study_is_starved() -> None:
    shares = dataset_shares(["big"] * 8 + ["small"] * 2, temperature=float("inf"))
    sampler = StudySampler(10, batch_size=5, seed=1, shares=shares)
    visits: Counter[int] = Counter()
    for epoch in range(8):
        sampler.set_epoch(epoch)
        studies = [r.study for batch in sampler for r in batch]
        assert sum(study < 8 for study in studies) == 5
        visits.update(studies)
    assert [visits[study] for study in range(10)] == [5] * 8 + [20] * 2
