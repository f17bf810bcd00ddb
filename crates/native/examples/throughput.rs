//! Latency against throughput, in turns: one network on N threads, N one-thread replicas that share
//! its weights, and N networks on N threads each, which have to share the CPUs:
//! `throughput MODEL [labels|logits] [N] [SECONDS] [SIZE…]`.

use std::time::{Duration, Instant};

use slicewise_graph::{Task, Tensor, passes};
use slicewise_native::{Network, Options, compile};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).map_or(default.to_owned(), String::clone);
    let name = arg(0, "mobilenetv4_conv_small+fpn");
    let task: Task = arg(1, "labels").parse()?;
    let streams: usize = arg(2, "2").parse()?;
    let seconds: f64 = arg(3, "8").parse()?;
    let mut options = slicewise_zoo::Options::default();
    if let Some(size) = args.get(4..).filter(|size| !size.is_empty()) {
        let size: Vec<usize> = size.iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
        options = options.size(&size);
    }
    let mut graph = slicewise_zoo::build(&name, &options)?;
    slicewise_zoo::fill(&mut graph)?;
    let graph = passes::simplify(&graph.with_task(task)?)?;
    let sizes = graph.node(graph.inputs()[0]).shape.sizes();
    let input = [slicewise_zoo::fill_input(&sizes.unwrap_or_default())];

    let mut whole = compile(
        &graph,
        &Options {
            threads: streams,
            ..Options::default()
        },
    )?;
    let mut replicas = vec![compile(
        &graph,
        &Options {
            threads: 1,
            ..Options::default()
        },
    )?];
    for _ in 1..streams {
        replicas.push(replicas[0].replicate()?);
    }
    let mut crowd = vec![whole.replicate()?];
    for _ in 1..streams {
        crowd.push(whole.replicate()?);
    }
    const TURNS: u32 = 7;
    let turn = Duration::from_secs_f64(seconds) / (3 * TURNS);
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        rates[0].push(rate(std::slice::from_mut(&mut whole), &input, turn)?);
        rates[1].push(rate(&mut replicas, &input, turn)?);
        rates[2].push(rate(&mut crowd, &input, turn)?);
    }
    let names = [
        format!("1 network on {streams} threads"),
        format!("{streams} replicas on 1 thread each"),
        format!("{streams} networks on {streams} threads each"),
    ];
    for (name, rates) in names.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let ms = 1e3 / median;
        println!("{name:34} {median:8.2} inputs/s, {ms:8.2} ms per input");
    }
    Ok(())
}

/// Inputs per second of networks that run at the same time for so long.
fn rate(networks: &mut [Network], input: &[Tensor], time: Duration) -> Result<f64, Failure> {
    let begin = Instant::now();
    let runs = std::thread::scope(|scope| {
        let streams: Vec<_> = (networks.iter_mut())
            .map(|network| {
                scope.spawn(move || -> Result<usize, Failure> {
                    let mut runs = 0;
                    while begin.elapsed() < time || runs == 0 {
                        network.run(input)?;
                        runs += 1;
                    }
                    Ok(runs)
                })
            })
            .collect();
        let runs = streams.into_iter().map(|stream| match stream.join() {
            Ok(runs) => runs,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        runs.sum::<Result<usize, Failure>>()
    })?;
    Ok(runs as f64 / begin.elapsed().as_secs_f64())
}
