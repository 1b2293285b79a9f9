//! What requests and NPUs are told to do agrees with the run they do it in.

use std::collections::BTreeMap;

use engine::{
    Activity, Deployment, Doing, Engine, Entry, FinishedRequest, Interval, LoadChange, Moved, NpuPart, Observer,
    Polling, RequestEvent, RequestMoment, RequestRouter, Simulation, Wave,
};
use proptest::prelude::*;
use units::{GroupId, InstanceId, Instant, RequestId};

use crate::common::{
    Case, GroupPlan, MemberPlan, Place, PlacementPlan, Run, cases, chain_cases, config, pim_cases, stage_cases,
};
use crate::detailed::{AmongTheFirst, with_ties};
use crate::vllm::ways;

/// One NPU's part of a wave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    wave: u64,
    begin: Instant,
    end: Instant,
    activities: Vec<Activity>,
}

/// A run, and what it told of activity.
#[derive(Default)]
struct Told {
    run: Run,
    /// By instance and NPU, in order.
    parts: BTreeMap<(InstanceId, u32), Vec<Part>>,
    events: Vec<RequestEvent>,
    loads: Vec<LoadChange>,
    /// Told of waves whose number this divides.
    every: u64,
}

impl Told {
    fn of(deployment: &Deployment, entries: &[Entry], router: Option<Box<dyn RequestRouter>>, every: u64) -> Self {
        let mut told = Self { every, ..Self::default() };
        let mut simulation = Simulation::new(deployment, entries.iter().cloned());
        if let Some(router) = router {
            simulation = simulation.route_with(router);
        }
        told.run.totals = simulation.telling_activity().run(&mut Watching(&mut told));
        told
    }
}

/// Passes everything on.
struct Watching<'t>(&'t mut Told);

impl Observer for Watching<'_> {
    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        self.0.run.step_finished(instance, now);
    }

    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.0.run.request_finished(request);
    }

    fn wave_started(&mut self, wave: &Wave<'_>) {
        self.0.run.wave_started(wave);
    }

    fn interval_ended(&mut self, interval: &Interval<'_>) {
        self.0.run.interval_ended(interval);
    }

    fn wants_activity(&self, _: GroupId, wave: u64, _: Instant) -> bool {
        wave.is_multiple_of(self.0.every)
    }

    fn npu_part_ended(&mut self, part: &NpuPart<'_>) {
        let parts = self.0.parts.entry((part.instance, part.npu)).or_default();
        let &NpuPart { wave, begin, end, activities, .. } = part;
        parts.push(Part { wave, begin, end, activities: activities.to_vec() });
    }

    fn request_event(&mut self, event: &RequestEvent) {
        self.0.events.push(*event);
    }

    fn load_changed(&mut self, change: &LoadChange) {
        self.0.loads.push(*change);
    }
}

fn computes(activity: &Activity) -> bool {
    matches!(activity.what, Doing::Compute(_))
}

/// Checks the parts of one instance's NPUs against the steps of the run.
fn check_parts(told: &Told, deployment: &Deployment, instance: InstanceId) -> Result<(), TestCaseError> {
    let spec = &deployment.instances[instance.index()];
    let is_exact = deployment.options.polling == Polling::Exact;
    let steps = told.run.steps_of(instance.index());
    let wanted: Vec<u64> = (0..steps.len() as u64).filter(|wave| wave.is_multiple_of(told.every)).collect();
    let mut latest_end = vec![Instant::ZERO; steps.len()];
    for npu in 0..spec.num_npus_with_peers() {
        let parts = told.parts.get(&(instance, npu)).map_or(&[][..], |parts| parts);
        let waves: Vec<u64> = parts.iter().map(|part| part.wave).collect();
        prop_assert_eq!(&waves, &wanted, "instance {} npu {}", instance, npu);
        prop_assert!(parts.windows(2).all(|pair| pair[0].end <= pair[1].begin), "parts of an NPU overlap");
        for part in parts {
            let step = steps[part.wave as usize];
            prop_assert!(step.start <= part.begin && part.begin <= part.end);
            // LLMServingSim asks the first and the last NPU alone, and sees them late.
            if is_exact || npu == 0 || npu + 1 == spec.num_npus_with_peers() {
                prop_assert!(part.end <= step.end, "instance {} npu {} {:?} {:?}", instance, npu, part.end, step);
                let latest = &mut latest_end[part.wave as usize];
                *latest = part.end.max(*latest);
            }
            check_activities(part, deployment.options.engine.is_asynchronous())?;
        }
    }
    // A host that is busy takes a result in late.
    let is_seen_at_once = is_exact && deployment.options.engine == Engine::Reference;
    for wave in wanted.into_iter().filter(|_| is_seen_at_once) {
        prop_assert_eq!(latest_end[wave as usize], steps[wave as usize].end, "instance {} wave {}", instance, wave);
    }
    Ok(())
}

/// Checks one part; where batches are formed `ahead`, input and output are moved beside other steps.
fn check_activities(part: &Part, ahead: bool) -> Result<(), TestCaseError> {
    let is_beside = |what: &Doing| ahead && matches!(what, Doing::Access { .. });
    let own = || part.activities.iter().filter(|activity| !is_beside(&activity.what));
    let last = own().map(|activity| activity.end).max();
    let last = last.unwrap_or(part.begin).max(part.begin);
    prop_assert!(last == part.end || ahead && last < part.end, "it ends with the last thing it does");
    for activity in &part.activities {
        let is_inside = is_beside(&activity.what) || part.begin <= activity.begin;
        prop_assert!(is_inside && activity.begin < activity.end, "{:?}", activity);
        match activity.what {
            Doing::Collective { met, .. } => prop_assert!(activity.begin <= met && met <= activity.end),
            Doing::Access { served, .. } => prop_assert!(activity.begin <= served && served <= activity.end),
            _ => {}
        }
    }
    let computing: Vec<&Activity> = part.activities.iter().filter(|activity| computes(activity)).collect();
    prop_assert!(computing.windows(2).all(|pair| pair[0].end <= pair[1].begin), "an NPU computes one thing at a time");
    let meeting = part.activities.iter().filter(|activity| matches!(activity.what, Doing::Collective { .. }));
    prop_assert!(meeting.collect::<Vec<_>>().windows(2).all(|pair| pair[0].end <= pair[1].begin));
    Ok(())
}

/// Checks the story of each request: it arrives, is scheduled, and comes back after each time it lost its blocks.
fn check_requests(told: &Told) -> Result<(), TestCaseError> {
    let mut stories: BTreeMap<RequestId, Vec<RequestEvent>> = BTreeMap::new();
    told.events.iter().for_each(|event| stories.entry(event.request).or_default().push(*event));
    prop_assert_eq!(stories.len(), told.run.finished.len());
    for finished in &told.run.finished {
        let story = &stories[&finished.id];
        let is_first = story[0].at == finished.arrival && matches!(story[0].what, RequestMoment::Arrived { .. });
        prop_assert!(is_first, "{:?}", story);
        prop_assert!(story.is_sorted_by_key(|event| event.at), "{:?}", story);
        let count = |what: fn(&RequestMoment) -> bool| story.iter().filter(|event| what(&event.what)).count() as u64;
        prop_assert_eq!(count(|what| matches!(what, RequestMoment::Preempted)), finished.preemptions);
        prop_assert_eq!(count(|what| matches!(what, RequestMoment::Arrived { .. })), 1);
        let handed = count(|what| matches!(what, RequestMoment::HandedOver));
        prop_assert_eq!(count(|what| matches!(what, RequestMoment::Admitted)), handed);
        prop_assert_eq!(story.last().map(|event| event.instance), Some(finished.instance));
        let first_complete =
            story.iter().find(|event| matches!(event.what, RequestMoment::Scheduled { completes: true, .. }));
        let RequestMoment::Scheduled { tokens, history, .. } = first_complete.expect("it has a first token").what
        else {
            unreachable!("it was scheduled");
        };
        if finished.preemptions == 0 {
            prop_assert_eq!(tokens + history, finished.input_tokens);
        }
    }
    Ok(())
}

fn check(case: &Case, every: u64) -> Result<(), TestCaseError> {
    check_run(&case.deployment(), &case.entries(), every)
}

fn check_run(deployment: &Deployment, entries: &[Entry], every: u64) -> Result<(), TestCaseError> {
    let told = Told::of(deployment, entries, None, every);
    let plain = Run::of(deployment, entries);
    prop_assert_eq!(&told.run.finished, &plain.finished);
    prop_assert_eq!(&told.run.waves, &plain.waves);
    prop_assert_eq!(&told.run.step_ends, &plain.step_ends);
    prop_assert_eq!(&told.run.totals, &plain.totals);
    for instance in 0..deployment.instances.len() {
        check_parts(&told, deployment, instance.into())?;
    }
    check_requests(&told)?;
    prop_assert!(told.loads.iter().all(|load| load.kv_blocks_held == 0 || load.running > 0));
    Ok(())
}

/// What can be compared between clocks. Which of several outputs is stored first that are there in the same nanosecond is
/// left to chance.
fn comparable(told: &Told, num_instances: usize) -> BTreeMap<(InstanceId, u32), Vec<Part>> {
    let mut parts = told.parts.clone();
    parts.retain(|(instance, _), _| instance.index() < num_instances);
    for part in parts.values_mut().flatten() {
        let is_output = |what: &Doing| matches!(what, Doing::Access { moved: Moved::Output, .. });
        part.activities.retain(|activity| !is_output(&activity.what));
        part.end = part.activities.iter().map(|activity| activity.end).max().unwrap_or(part.begin);
        for activity in &mut part.activities {
            // A lone rank's attention in memory is told channel by channel, or all together.
            if let Doing::InMemory(channel) = &mut activity.what {
                *channel = None;
            }
        }
        join_in_memory(&mut part.activities);
        part.activities.sort_by_key(|activity| (activity.begin, activity.end, format!("{:?}", activity.what)));
    }
    parts
}

/// Joins what goes on in memory for one block.
fn join_in_memory(activities: &mut Vec<Activity>) {
    let mut joined: Vec<Activity> = Vec::new();
    for activity in activities.drain(..) {
        let is_same = |other: &&mut Activity| {
            let whose = |activity: &Activity| (activity.block, activity.half, activity.what);
            matches!(activity.what, Doing::InMemory(_)) && whose(other) == whose(&activity)
        };
        match joined.iter_mut().find(is_same) {
            Some(other) => (other.begin, other.end) = (activity.begin.min(other.begin), activity.end.max(other.end)),
            None => joined.push(activity),
        }
    }
    *activities = joined;
}

/// Checks that the closed form tells the same as the events do.
fn check_ways_agree(case: Case) -> Result<(), TestCaseError> {
    let case = with_ties(case);
    let num_instances = case.cluster.num_nodes as usize;
    let tell = |unused: Option<GroupPlan>| {
        let mut case = case.clone();
        case.cluster.num_nodes += u32::from(unused.is_some());
        case.cluster.groups.extend(unused);
        Told::of(&case.deployment(), &case.entries(), Some(Box::new(AmongTheFirst(num_instances))), 1)
    };
    let unused = |pp, weights| {
        let placement = PlacementPlan { weights, ..PlacementPlan::default() };
        let member = MemberPlan { node: num_instances as u32, placement, ..MemberPlan::default() };
        Some(GroupPlan { pp, members: vec![member], ..GroupPlan::default() })
    };
    let events = comparable(&tell(unused(1, Place::Host)), num_instances);
    for closed in [tell(None), tell(unused(2, Place::Npu))] {
        let closed = comparable(&closed, num_instances);
        for (npu, parts) in &events {
            for (event, closed) in parts.iter().zip(&closed[npu]) {
                prop_assert_eq!(event, closed, "{:?}", npu);
            }
        }
        prop_assert_eq!(&closed, &events);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn npus_end_their_parts_when_the_clock_says(case in cases(), every in 1..4_u64) {
        check(&case, every)?;
    }

    #[test]
    fn npus_do_one_step_after_the_other_where_batches_are_formed_ahead(case in chain_cases(), way in ways()) {
        let mut deployment = case.deployment();
        deployment.options.engine = Engine::Vllm(way);
        check_run(&deployment, &case.entries(), 1)?;
    }

    #[test]
    fn a_pass_that_is_played_is_what_the_events_are(case in chain_cases()) {
        check_ways_agree(case)?;
    }

    #[test]
    fn so_is_one_with_attention_in_memory(case in pim_cases()) {
        check_ways_agree(case)?;
    }

    #[test]
    fn so_is_a_stage(case in stage_cases()) {
        check_ways_agree(case)?;
    }
}
