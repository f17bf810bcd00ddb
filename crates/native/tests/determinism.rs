//! Whole networks give the same bits on any number of threads and in every run.

use slicewise_graph::{Task, Tensor, passes};
use slicewise_native::{Options, compile};

/// The bits of results: equality of floats would let -0 pass for 0.
fn bits(results: &[Tensor]) -> Vec<Vec<u32>> {
    let bits = |t: &Tensor| match t.as_f32() {
        Some(values) => values.iter().map(|v| v.to_bits()).collect(),
        None => panic!("logits are f32"),
    };
    results.iter().map(bits).collect()
}

#[test]
fn networks_give_the_same_bits_on_1_2_and_16_threads_and_in_every_run() {
    let cases: [(&str, &[usize]); 6] = [
        ("mobilenetv4_conv_small+fpn", &[96, 160]),
        ("resnet18+unet", &[64, 96]),
        ("regnetx_004+fpn", &[96, 64]),
        ("edgenext_x_small", &[64, 64]),
        ("totalsegmentator", &[32, 32, 32]),
        ("stunet_s", &[32, 32, 64]),
    ];
    let mut wrong = Vec::new();
    for (name, size) in cases {
        let options = slicewise_zoo::Options::default().classes(7).size(size);
        let mut graph = slicewise_zoo::build(name, &options).expect(name);
        slicewise_zoo::fill(&mut graph).expect(name);
        let graph = passes::simplify(&graph.with_task(Task::Logits).expect(name)).expect(name);
        let input = graph.node(graph.inputs()[0]).shape.sizes().expect(name);
        let input = [slicewise_zoo::fill_input(&input)];
        let mut first: Option<Vec<Vec<u32>>> = None;
        for threads in [1, 2, 16] {
            let mut network = compile(
                &graph,
                &Options {
                    threads,
                    ..Options::default()
                },
            )
            .expect(name);
            for run in 1..=3 {
                let got = bits(network.run(&input).expect(name));
                if *first.get_or_insert_with(|| got.clone()) != got {
                    wrong.push(format!("{name}: run {run} on {threads} threads"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "differ from the first run on one thread: {wrong:#?}"
    );
}
