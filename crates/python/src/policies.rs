//! Routing by callables.
//!
//! What they raise can't go through the engine, which can't fail. It is remembered, and the run stops before anything
//! else happens ([`Raised`]).

use std::sync::Arc;

use engine::{Deployment, ExpertRouting, RequestRouter};
use moe::{ExpertGate, MoeBlock, RankLoad};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use units::InstanceId;

use crate::faults::routing_error;
use crate::watcher::Raised;

/// What is known of a request when it is routed.
#[pyclass(frozen, get_all, module = "servingsim")]
pub(crate) struct RoutedRequest {
    id: u64,
    arrival_ns: u64,
    input_tokens: u64,
    output_tokens: u64,
}

#[pymethods]
impl RoutedRequest {
    fn __repr__(&self) -> String {
        let Self { id, arrival_ns, input_tokens, output_tokens } = self;
        format!(
            "RoutedRequest(id={id}, arrival_ns={arrival_ns}, input_tokens={input_tokens}, output_tokens={output_tokens})"
        )
    }
}

/// What a router knows of an instance.
#[pyclass(frozen, get_all, module = "servingsim")]
pub(crate) struct InstanceLoad {
    instance: u32,
    running: u64,
    waiting: u64,
    max_num_seqs: Option<u64>,
}

#[pymethods]
impl InstanceLoad {
    fn __repr__(&self) -> String {
        let Self { instance, running, waiting, max_num_seqs } = self;
        let most = max_num_seqs.map_or_else(|| "None".to_owned(), |most| most.to_string());
        format!("InstanceLoad(instance={instance}, running={running}, waiting={waiting}, max_num_seqs={most})")
    }
}

/// One mixture-of-experts block in one step of an instance.
#[pyclass(frozen, get_all, module = "servingsim")]
pub(crate) struct ExpertBlock {
    instance: u32,
    layer: u32,
    tokens: u64,
    num_experts: u32,
    experts_per_token: u32,
    num_ranks: u32,
}

#[pymethods]
impl ExpertBlock {
    fn __repr__(&self) -> String {
        let Self { instance, layer, tokens, num_experts, experts_per_token, num_ranks } = self;
        format!(
            "ExpertBlock(instance={instance}, layer={layer}, tokens={tokens}, num_experts={num_experts}, \
             experts_per_token={experts_per_token}, num_ranks={num_ranks})"
        )
    }
}

/// Routes requests by a callable: `(request, instances) -> index`.
#[derive(Debug)]
pub(crate) struct CallableRouter {
    pub(crate) callable: Py<PyAny>,
    pub(crate) raised: Raised,
}

impl CallableRouter {
    fn ask(&self, request: &engine::RoutedRequest, instances: &[engine::InstanceLoad]) -> PyResult<usize> {
        Python::attach(|py| {
            let loads = instances.iter().map(|load| InstanceLoad {
                instance: load.instance.0,
                running: load.running,
                waiting: load.waiting,
                max_num_seqs: load.max_num_seqs,
            });
            let request = RoutedRequest {
                id: request.id.0,
                arrival_ns: request.arrival.ns(),
                input_tokens: request.input_tokens,
                output_tokens: request.output_tokens,
            };
            let answer = self.callable.bind(py).call1((request, loads.collect::<Vec<_>>()))?;
            let index: i64 = answer.extract().map_err(|_| {
                let message = format!("a request router returns the index of an instance, not {}", kind(&answer));
                PyTypeError::new_err(message)
            })?;
            usize::try_from(index).ok().filter(|&index| index < instances.len()).ok_or_else(|| {
                let message = format!("a request router returned {index}, and there are {} instances", instances.len());
                routing_error(py, &message)
            })
        })
    }
}

impl RequestRouter for CallableRouter {
    fn choose(&mut self, request: &engine::RoutedRequest, instances: &[engine::InstanceLoad]) -> usize {
        if self.raised.is_set() {
            return 0;
        }
        self.ask(request, instances).unwrap_or_else(|error| {
            self.raised.set(error);
            0
        })
    }
}

/// Has every mixture-of-experts instance route its tokens by `callable`: `(block) -> counts or choices`. False when
/// there is none.
pub(crate) fn route_experts(deployment: &mut Deployment, callable: &Arc<Py<PyAny>>, raised: &Raised) -> bool {
    let mut any = false;
    for (index, spec) in deployment.instances.iter_mut().enumerate().filter(|(_, spec)| spec.model.is_moe()) {
        let (callable, raised) = (Arc::clone(callable), raised.clone());
        spec.expert_routing = Some(Arc::new(CallableRouting { instance: index.into(), callable, raised }));
        any = true;
    }
    any
}

#[derive(Clone, Debug)]
struct CallableRouting {
    instance: InstanceId,
    callable: Arc<Py<PyAny>>,
    raised: Raised,
}

impl ExpertRouting for CallableRouting {
    fn gate(&self, _seed: u64) -> Box<dyn ExpertGate> {
        Box::new(self.clone())
    }
}

/// What a callable says of a block.
enum Answer {
    Counts(Vec<u64>),
    Choices(Vec<Vec<u32>>),
}

impl CallableRouting {
    fn ask(&self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) -> PyResult<()> {
        Python::attach(|py| {
            let asked = ExpertBlock {
                instance: self.instance.0,
                layer: block.layer,
                tokens: block.tokens,
                num_experts: block.placement.num_experts(),
                experts_per_token: block.experts_per_token,
                num_ranks: block.placement.num_ranks(),
            };
            let routed = match answer(&self.callable.bind(py).call1((asked,))?)? {
                Answer::Counts(counts) => block.load_by_counts(&counts, loads),
                Answer::Choices(choices) => {
                    let uneven = choices.iter().position(|taken| taken.len() != block.experts_per_token as usize);
                    if let Some(token) = uneven {
                        let (found, expected) = (choices[token].len(), block.experts_per_token);
                        let message = format!("token {token} takes {found} experts instead of {expected}");
                        return Err(routing_error(py, &of_block(block, &message)));
                    }
                    block.load_by_choices(&choices.concat(), loads)
                }
            };
            routed.map_err(|unroutable| routing_error(py, &of_block(block, &unroutable.to_string())))
        })
    }
}

impl ExpertGate for CallableRouting {
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
        if self.raised.is_set() {
            return;
        }
        if let Err(error) = self.ask(block, loads) {
            self.raised.set(error);
            loads.fill(RankLoad::default());
        }
    }
}

fn of_block(block: &MoeBlock<'_>, message: &str) -> String {
    format!("experts of layer {}, {} tokens: {message}", block.layer, block.tokens)
}

/// Whole numbers, or lists of them; arrays of NumPy, PyTorch and others too.
fn answer(answer: &Bound<'_, PyAny>) -> PyResult<Answer> {
    let list = if answer.hasattr("tolist")? { &answer.call_method0("tolist")? } else { answer };
    if let Ok(counts) = list.extract::<Vec<u64>>() {
        return Ok(Answer::Counts(counts));
    }
    list.extract().map(Answer::Choices).map_err(|_| {
        PyTypeError::new_err(format!(
            "an expert router returns a number of tokens for each expert, or the experts of each token, all whole \
             numbers from 0, not {}",
            kind(answer)
        ))
    })
}

fn kind(value: &Bound<'_, PyAny>) -> String {
    let text = value.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string());
    let short: String = text.chars().take(80).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short}{more}")
}
