//! What it does to an engine's time to run in a process of its own: both ways of every engine that is there, in
//! the same interleaved rounds.
//!
//! ```sh
//! cargo run --release -p slicewise-bench --example processes [MODEL [SIZE [ROUNDS]]]
//! ```
//!
//! Prints for each engine the time in a process of its own in units of the time within this one, with the interval
//! and the verdict, and beside it the engine within this process against itself, which is the noise.

use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

use slicewise_bench::record::Visit;
use slicewise_bench::rounds::{
    Conduct, Elsewhere, Protocol, Step, SystemClock, Watch, Workload, measure,
};
use slicewise_bench::verdict::{Comparison, SMALLEST_DIFFERENCE};
use slicewise_engines::{
    Availability, CompileOptions, Engine, Session, installed, load, load_in_child, serve,
    serve_with,
};
use slicewise_graph::{Graph, Task, Tensor};
use slicewise_zoo as zoo;

struct Network {
    session: Box<dyn Session>,
    input: Tensor,
}

impl Workload for Network {
    fn run(&mut self) -> Result<Option<Elsewhere>, String> {
        let input = std::slice::from_ref(&self.input);
        let ran = self.session.run_discarding(input);
        ran.map_err(|e| e.to_string())?;
        Ok(self.session.in_child().map(|ran| Elsewhere {
            time: ran.time,
            cpu_time: ran.cpu_time,
        }))
    }
}

/// All rounds are made.
struct Silent;

impl Watch for Silent {
    fn step(&mut self, _: Step<'_>) {}
    fn is_open(&self, _: usize) -> bool {
        false
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serving, name] = &arguments[..]
        && serving == "serve"
    {
        return Ok(serve(name)?);
    }
    serve_with(std::env::current_exe()?, vec![OsString::from("serve")]);
    let model = arguments
        .first()
        .map_or("mobilenetv4_conv_small+fpn", |m| m);
    let size: usize = arguments.get(1).map_or(Ok(512), |s| s.parse())?;
    let rounds: usize = arguments.get(2).map_or(Ok(30), |s| s.parse())?;
    let options = zoo::Options::default().size(&[size, size]).classes(117);
    let mut graph = zoo::build(model, &options)?;
    zoo::fill(&mut graph)?;
    let mut names = Vec::new();
    let mut arms = Vec::new();
    for found in installed() {
        let Availability::Found(found) = found else {
            continue;
        };
        // PyTorch has no other way than a process of its own.
        if found.engine.starts_with("torch") {
            continue;
        }
        let here = load(found.engine)?;
        let apart = load_in_child(found.engine)?;
        names.push(found.engine);
        for engine in [&here, &apart, &here] {
            arms.push(network(engine.as_ref(), &graph)?);
        }
    }
    let conduct = Conduct {
        protocol: &Protocol {
            rounds,
            most_rounds: rounds,
            ..Protocol::default()
        },
        budget: Duration::from_secs(100_000),
        reference: None,
        first_round: 0,
        clock: &SystemClock::start(),
        stop: &|| false,
    };
    let runs = measure(&mut arms, &conduct, &mut Silent);
    println!("{model}, {size}x{size}, labels, {rounds} rounds");
    for (name, runs) in names.iter().zip(runs.chunks(3)) {
        let medians = |arm: usize| -> Vec<f64> {
            let visits = runs[arm].visits.iter();
            visits.filter_map(Visit::median_ms).collect()
        };
        let (here, apart, again) = (medians(0), medians(1), medians(2));
        let [own, noise] = [&apart, &again].map(|arm| {
            let logs: Vec<f64> = arm.iter().zip(&here).map(|(a, b)| (a / b).ln()).collect();
            Comparison::of_pairs(&logs, SMALLEST_DIFFERENCE)
        });
        for (what, comparison) in [("own process", own), ("same again", noise)] {
            let Some((c, i)) = comparison.and_then(|c| Some((c, c.interval?))) else {
                println!(
                    "{name:<12} {what}: {:?}",
                    runs.iter().map(|r| &r.error).collect::<Vec<_>>()
                );
                continue;
            };
            println!(
                "{name:<12} {what:<12} {:.4} [{:.4}, {:.4}] {}",
                c.ratio, i.low, i.high, c.verdict
            );
        }
    }
    Ok(())
}

fn network(engine: &dyn Engine, graph: &Graph) -> Result<Network, Box<dyn Error>> {
    let options = CompileOptions {
        task: Task::Labels,
        ..CompileOptions::default()
    };
    let mut session = engine.compile(graph, &options)?;
    let id = graph.inputs()[0];
    let shape = graph.node(id).shape.with_batch(1);
    let input = zoo::fill_input(&shape.sizes().ok_or("a size is open")?);
    session.run(std::slice::from_ref(&input))?;
    Ok(Network { session, input })
}
