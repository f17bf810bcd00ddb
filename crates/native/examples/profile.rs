//! Times a model's steps: `profile MODEL [labels|logits] [THREADS] [RUNS] [SIZE…]`.

use std::collections::BTreeMap;
use std::time::Instant;

use slicewise_graph::{Task, passes};
use slicewise_native::{Options, StepInfo, compile};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).map_or(default.to_owned(), String::clone);
    let name = arg(0, "mobilenetv4_conv_small+fpn");
    let task: Task = arg(1, "labels").parse()?;
    let threads = arg(2, "2").parse()?;
    let runs: usize = arg(3, "10").parse()?;

    let mut options = slicewise_zoo::Options::default();
    if let Some(size) = args.get(4..).filter(|size| !size.is_empty()) {
        let size: Vec<usize> = size.iter().map(|n| n.parse()).collect::<Result<_, _>>()?;
        options = options.size(&size);
    }
    let mut graph = slicewise_zoo::build(&name, &options)?;
    slicewise_zoo::fill(&mut graph)?;
    let graph = passes::simplify(&graph.with_task(task)?)?;
    let input = graph
        .node(graph.inputs()[0])
        .shape
        .sizes()
        .unwrap_or_default();
    let input = slicewise_zoo::fill_input(&input);
    let start = Instant::now();
    let mut network = compile(
        &graph,
        &Options {
            threads,
            ..Options::default()
        },
    )?;
    println!("compiled in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);

    let mut times = Vec::with_capacity(runs);
    let mut best: Vec<StepInfo> = Vec::new();
    for run in 0..=runs {
        let start = Instant::now();
        network.run_profiled(std::slice::from_ref(&input))?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let steps = network.steps();
        match run {
            0 => best = steps,
            _ => {
                times.push(ms);
                for (best, step) in best.iter_mut().zip(steps) {
                    best.ms = best.ms.zip(step.ms).map(|(a, b)| a.min(b));
                }
            }
        }
    }
    times.sort_by(f64::total_cmp);
    let mut kinds: BTreeMap<String, (f64, u64, usize)> = BTreeMap::new();
    for step in &best {
        let ms = step.ms.unwrap_or(0.0);
        let gflops = 2e-6 * step.macs as f64 / ms;
        println!(
            "{ms:8.3} ms {gflops:7.1} GFLOP/s  {:22} {:26} {:28} {}",
            step.kernel, step.op, step.output, step.name
        );
        let kind = kinds.entry(step.kernel.to_owned()).or_default();
        *kind = (kind.0 + ms, kind.1 + step.macs, kind.2 + 1);
    }
    println!();
    for (kernel, (ms, macs, count)) in kinds {
        let gflops = 2e-6 * macs as f64 / ms;
        println!("{ms:8.3} ms {gflops:7.1} GFLOP/s  {count:4} × {kernel}");
    }
    println!(
        "{name} to {task}: median {:.1} ms, best {:.1} ms, {} on {threads} threads, arena {:.1} MB",
        times[times.len() / 2],
        times[0],
        network.isa(),
        network.arena_bytes() as f64 / 1e6,
    );
    // Linux states the peak resident size of this process.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(line) = status.lines().find(|line| line.starts_with("VmHWM")) {
        println!("{line}");
    }
    Ok(())
}
