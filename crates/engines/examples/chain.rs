//! What one 3×3 convolution costs inside a network, on every engine installed.
//!
//! `cargo run --release -p slicewise-engines --example chain [THREADS] [ROUNDS]`
//!
//! A chain of five convolutions less a chain of one, divided by four: so no engine pays for bringing
//! the image into its own layout and back. Engines take turns in every round, each after a pause in
//! which the threads of the one before it go to sleep.

use std::time::{Duration, Instant};

use slicewise_engines::{self as engines, CompileOptions, Precision, Session};
use slicewise_graph::{Conv, DType, Graph, GraphError, Op, Role, Shape, Tensor};
use slicewise_zoo as zoo;

/// Channels and the side of the square image.
const LAYERS: [(usize, usize); 6] = [
    (16, 256),
    (32, 256),
    (64, 128),
    (128, 128),
    (256, 32),
    (512, 16),
];
const LONG: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// Shortest time that a visit measures in.
const VISIT: Duration = Duration::from_millis(60);

/// One engine at one precision with both chains ready.
struct Arm {
    name: String,
    /// The short and the long chain, each with the medians of its visits in ms.
    chains: [(Box<dyn Session>, Vec<f64>); 2],
}

impl Arm {
    /// Milliseconds of one convolution inside the chain.
    fn convolution(&self) -> f64 {
        let [short, long] = &self.chains;
        (median(&long.1) - median(&short.1)) / (LONG - 1) as f64
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let threads: usize = args.next().map_or(Ok(2), |a| a.parse())?;
    let rounds: usize = args.next().map_or(Ok(9), |a| a.parse())?;
    // An engine that is not installed is left out.
    let installed: Vec<_> = (engines::ENGINES.into_iter())
        .filter_map(|name| engines::load(name).ok())
        .collect();
    println!("ms of one 3x3 convolution inside a chain, {threads} threads; times native f32");
    for (channels, side) in LAYERS {
        let graphs = [chain(channels, side, 1)?, chain(channels, side, LONG)?];
        let mut arms = Vec::new();
        for engine in &installed {
            for &precision in engine.precisions() {
                if precision == Precision::Int8 {
                    continue;
                }
                let options = CompileOptions {
                    precision,
                    threads,
                    ..CompileOptions::default()
                };
                let ready = |graph| Ok((engine.compile(graph, &options)?, Vec::new()));
                let [short, long] = &graphs;
                let chains: Result<_, engines::EngineError> =
                    ready(short).and_then(|short| Ok([short, ready(long)?]));
                arms.push(Arm {
                    name: format!("{} {precision}", engine.info().name),
                    chains: chains?,
                });
            }
        }
        let input = [zoo::fill_input(&[1, channels, side, side])];
        for round in 0..rounds {
            let count = arms.len();
            for i in 0..count {
                for (session, medians) in &mut arms[(i + round) % count].chains {
                    medians.push(visit(session.as_mut(), &input)?);
                }
            }
        }
        let native = arms.iter().find(|a| a.name == "native f32");
        let native = native.map_or(f64::NAN, Arm::convolution);
        print!("{channels:4} channels {side:3}x{side:<3}");
        for arm in &arms {
            let ms = arm.convolution();
            print!("  {} {ms:.3} ms ({:.2}x)", arm.name, ms / native);
        }
        println!();
    }
    Ok(())
}

/// `length` convolutions of equal size, one after the other.
fn chain(channels: usize, side: usize, length: usize) -> Result<Graph, GraphError> {
    let mut graph = Graph::new(format!("chain of {length}"));
    let shape = Shape::new(&[1, channels, side, side]);
    let mut x = graph.input("x", shape, DType::F32)?;
    for i in 0..length {
        let mut parameter = |name: &str, shape: &[usize]| {
            let name = format!("conv{i}.{name}");
            let tensor = zoo::fill_parameter(&name, shape, 1.0);
            graph.constant_tensor(&name, Role::Trainable, tensor)
        };
        let weight = parameter("weight", &[channels, channels, 3, 3])?;
        let bias = parameter("bias", &[channels])?;
        let conv = Op::Conv(Conv::new(2, 3).pad(1));
        x = graph.add(&format!("conv{i}"), conv, &[x, weight, bias])?;
    }
    graph.set_outputs(vec![x]);
    Ok(graph)
}

/// The median of runs back to back, after a pause and a run that is not counted.
fn visit(session: &mut dyn Session, input: &[Tensor]) -> Result<f64, engines::EngineError> {
    std::thread::sleep(PAUSE);
    session.run(input)?;
    let begin = Instant::now();
    let mut ms = Vec::new();
    while begin.elapsed() < VISIT || ms.len() < 3 {
        let start = Instant::now();
        session.run(input)?;
        ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&ms))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
