//! A second run of a network allocates nothing: everything was allocated at load and in the first
//! run. A test of its own, because it counts what the whole process allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use slicewise_graph::{Task, passes};
use slicewise_native::{Options, compile};

/// The system's allocator with a count of its calls.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_second_run_allocates_nothing() {
    let cases: [(&str, &[usize]); 5] = [
        ("mobilenetv4_conv_small+fpn", &[96, 64]),
        ("resnet18+unet", &[64, 64]),
        ("regnetx_004+fpn", &[64, 64]),
        ("totalsegmentator", &[32, 32, 32]),
        ("stunet_s", &[32, 32, 32]),
    ];
    let mut wrong = Vec::new();
    for (name, size) in cases {
        let options = slicewise_zoo::Options::default().classes(7).size(size);
        let mut graph = slicewise_zoo::build(name, &options).expect(name);
        slicewise_zoo::fill(&mut graph).expect(name);
        for (task, threads) in [(Task::Labels, 2), (Task::Logits, 1)] {
            let graph = passes::simplify(&graph.with_task(task).expect(name)).expect(name);
            let input = graph.node(graph.inputs()[0]).shape.sizes().expect(name);
            let input = [slicewise_zoo::fill_input(&input)];
            let mut network = compile(
                &graph,
                &Options {
                    threads,
                    ..Options::default()
                },
            )
            .expect(name);
            network.run(&input).expect(name);
            let before = CALLS.load(Ordering::Relaxed);
            network.run(&input).expect(name);
            let calls = CALLS.load(Ordering::Relaxed) - before;
            if calls > 0 {
                wrong.push(format!("{name} to {task} on {threads} threads: {calls}"));
            }
        }
    }
    assert!(wrong.is_empty(), "allocations in a second run: {wrong:#?}");
}
