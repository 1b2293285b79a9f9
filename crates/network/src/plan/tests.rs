use super::*;
use crate::{Algorithms, DimMask, Dimension};
use CollectiveKind::{AllGather, AllReduce, AllToAll, ReduceScatter};

/// Links of 1000 ns and (nearly) no serialisation, so that delays can be added by hand.
fn plan(npus: &[u32], kind: CollectiveKind, bytes: u64, dims: DimMask) -> Option<Plan> {
    let dim = |&npus| Dimension::fully_connected(npus, 1e6, 1000.0);
    let topology = Topology::new(npus.iter().map(dim).collect());
    Plan::new(&topology, &System::new(10, 1.0), Collective { kind, bytes, dims }).ok()
}

/// How long it takes when all start together.
fn together(plan: Plan) -> u64 {
    let mut at = vec![Instant::ZERO; plan.num_npus];
    assert!(plan.advance(&mut at), "rings have a closed form");
    assert!(at.iter().all(|end| *end == at[0]), "all end together");
    at[0].ns()
}

#[test]
fn all_together() {
    let check = |npus: &[u32], kind, bytes, ns| {
        let got = plan(npus, kind, bytes, DimMask::ALL).map(together);
        assert_eq!(got, ns, "{kind:?} of {bytes} bytes over {npus:?}");
    };
    // E + T (d + E) + reductions · 3 · message bytes
    check(&[4], AllReduce, 400, Some(10 + 6 * 1010 + 3 * 300));
    check(&[4], ReduceScatter, 400, Some(10 + 3 * 1010 + 3 * 300));
    check(&[4], AllGather, 400, Some(10 + 3 * 1010));
    check(&[4], AllToAll, 400, Some(10 + 6 * 1010));
    // Sizes are raised to a byte per NPU, all-gather's apart.
    check(&[4], ReduceScatter, 0, Some(10 + 3 * 1010 + 3 * 3));
    check(&[4], AllGather, 0, None);
    // Up, across, down: 600 bytes, then 300, then 300.
    check(&[2, 3], AllReduce, 600, Some((10 + 1010 + 900) + (10 + 4 * 1010 + 2 * 300) + (10 + 1010)));
    check(&[2, 3], ReduceScatter, 600, Some((10 + 1010 + 900) + (10 + 2 * 1010 + 2 * 300)));
    // Dimensions of one NPU take no part.
    check(&[1, 2], AllGather, 8, Some(10 + 1010));
    check(&[1], AllReduce, 8, None);
    check(&[], AllReduce, 8, None);
}

#[test]
fn a_mask_chooses_dimensions() {
    let check = |involved: &[bool], ns| {
        let got = plan(&[2, 3, 1], AllGather, 8, DimMask::new(involved)).map(together);
        assert_eq!(got, ns, "{involved:?}");
    };
    check(&[true, false, false], Some(10 + 1010));
    check(&[false, true, false], Some(10 + 2 * 1010));
    check(&[true, true, true], Some(20 + 3 * 1010));
    check(&[false, false, true], None);
    check(&[], None);
}

/// The recurrence of the ring's text, round by round.
fn advance_by_rounds(phase: &Phase, at: &mut [Instant]) {
    let Routine::Ring { message_bytes, rounds, reductions, reduction_time } = phase.routine else { panic!("no ring") };
    let delay = phase.delay(0, 1, message_bytes, NetworkModel::Unaware);
    at.iter_mut().for_each(|at| *at += phase.endpoint_delay);
    for round in 0..rounds {
        let sent = at.to_vec();
        for (rank, at) in at.iter_mut().enumerate() {
            let (coordinate, first) = phase.place(rank);
            let from = first + phase.on_from(coordinate, 1, !phase.forward) * phase.stride;
            let received = (sent[from] + delay).max(sent[rank]);
            *at = received + phase.endpoint_delay;
            if round < reductions {
                *at += reduction_time;
            }
        }
    }
}

#[test]
fn the_sliding_maximum_is_the_recurrence() {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    for n in (2..=9).chain([32, 33]) {
        for kind in [AllReduce, AllGather, ReduceScatter, AllToAll] {
            for npus in [&[n][..], &[n, 2], &[2, n]] {
                let plan = plan(npus, kind, 1000, DimMask::ALL).expect("it completes");
                let spread = 1 + random() % 8000;
                let mut at: Vec<Instant> = (0..plan.num_npus).map(|_| Instant::from_ns(random() % spread)).collect();
                let mut expected = at.clone();
                assert!(plan.advance(&mut at), "rings have a closed form");
                plan.phases.iter().for_each(|phase| advance_by_rounds(phase, &mut expected));
                assert_eq!(at, expected, "{kind:?} over {npus:?}");
            }
        }
    }
}

#[test]
fn trees_are_in_order() {
    // Parent and children by coordinate.
    let check = |members, has_root_at_end, expected: &[(Option<usize>, &[usize])]| {
        let place = |coordinate| TreePlace::of(coordinate, members, has_root_at_end);
        let got: Vec<_> =
            (0..members).map(|at| (place(at).parent(), place(at).children().collect::<Vec<_>>())).collect();
        let expected: Vec<_> = expected.iter().map(|&(parent, children)| (parent, children.to_vec())).collect();
        assert_eq!(got, expected, "{members} members");
    };
    check(2, true, &[(Some(1), &[]), (None, &[0])]);
    check(2, false, &[(None, &[1]), (Some(0), &[])]);
    check(4, true, &[(Some(1), &[]), (Some(3), &[0, 2]), (Some(1), &[]), (None, &[1])]);
    check(4, false, &[(None, &[2]), (Some(2), &[]), (Some(0), &[1, 3]), (Some(2), &[])]);
    let eight: &[(Option<usize>, &[usize])] = &[
        (Some(1), &[]),
        (Some(3), &[0, 2]),
        (Some(1), &[]),
        (Some(7), &[1, 5]),
        (Some(5), &[]),
        (Some(3), &[4, 6]),
        (Some(5), &[]),
        (None, &[3]),
    ];
    check(8, true, eight);
}

#[test]
fn halving_and_doubling_back() {
    let check = |kind, bytes, members: u32, expected: &[(u64, usize)]| {
        let topology = Topology::new(vec![Dimension::fully_connected(members, 1.0, 0.0)]);
        let mut system = System::new(10, 1.0);
        system.algorithms = Algorithms::of_all_kinds(vec![Algorithm::HalvingDoubling]);
        let plan = Plan::new(&topology, &system, Collective { kind, bytes, dims: DimMask::ALL }).expect("it completes");
        let Routine::Halving(halving) = plan.phases[0].routine else { panic!("not halving") };
        let rounds = (0..halving.rounds()).map(|round| (halving.message_bytes(round), halving.distance(round)));
        assert_eq!(rounds.collect::<Vec<_>>(), expected, "{kind:?} of {bytes} bytes over {members}");
    };
    check(AllReduce, 1001, 4, &[(500, 1), (250, 2), (250, 2), (500, 1)]);
    check(AllReduce, 1006, 4, &[(503, 1), (251, 2), (250, 2), (500, 1)]);
    check(ReduceScatter, 1000, 8, &[(500, 1), (250, 2), (125, 4)]);
    check(AllGather, 7, 8, &[(7, 4), (14, 2), (28, 1)]);
    check(AllReduce, 8, 2, &[(4, 1), (4, 1)]);
}

#[test]
fn what_can_not_be_run_says_why() {
    let check = |algorithm: Algorithm, npus, model, kind, bytes, expected| {
        let topology =
            Topology::new(vec![Dimension { block: crate::Block::Ring, ..Dimension::fully_connected(npus, 1.0, 0.0) }]);
        let mut system = System::new(10, 1.0);
        system.algorithms = Algorithms::of_all_kinds(vec![algorithm]);
        system.network_model = model;
        let got = Plan::new(&topology, &system, Collective { kind, bytes, dims: DimMask::ALL }).err();
        assert_eq!(got, Some(expected), "{algorithm} over {npus}");
    };
    use Algorithm::{DoubleBinaryTree, HalvingDoubling, Ring};
    use NetworkModel::{Aware, Unaware};
    check(Ring, 1, Unaware, AllReduce, 8, Impossible::NoMembers);
    check(Ring, 4, Unaware, AllGather, 0, Impossible::NoData);
    check(Ring, 2, Aware, AllReduce, 8, Impossible::RingOfTwo);
    check(HalvingDoubling, 4, Unaware, AllToAll, 8, Impossible::NoSuchKind(HalvingDoubling, AllToAll));
    check(HalvingDoubling, 6, Unaware, AllReduce, 8, Impossible::NoPowerOfTwo(HalvingDoubling, 6));
    check(DoubleBinaryTree, 3, Unaware, AllReduce, 8, Impossible::NoPowerOfTwo(DoubleBinaryTree, 3));
    check(HalvingDoubling, 4, Unaware, AllReduce, 4, Impossible::TooFewBytes(4));
}
