//! Labels land on the right voxels, whatever way round a scan is stored. The network here looks at one
//! neighbour along each axis, so that it shows which way round it saw the images.

use std::fs;
use std::path::{Path, PathBuf};

use slicewise_engines::Precision;
use slicewise_graph::{Conv, DType, Graph, Op, Role, Shape, Tensor};
use slicewise_imaging::nifti::{Header, write_labels};
use slicewise_imaging::{
    Affine, ClassTable, Grid, LabelMap, Labels, Orientation, Reorder, Volume, scan,
};
use slicewise_segment::manifest::{Asked, Manifest};
use slicewise_segment::{
    Bundle, Card, Intensity, Options, OutputFiles, PostProcess, Request, Scope, Segmenter, View,
    bundle,
};

/// Voxels to the left, to the back and to the head.
const SIZE: [usize; 3] = [16, 12, 8];

/// A network of three channels, the neighbouring slices, that labels a pixel 1 where the slice before, one
/// column before and two rows before, is above a half.
fn network(height: usize, width: usize) -> Graph {
    let mut graph = Graph::new("neighbour");
    let x = graph
        .input("x", Shape::new(&[1, 3, height, width]), DType::F32)
        .unwrap();
    let mut weight = vec![0f32; 2 * 3 * 5 * 5];
    // Class 1, channel 0, row 0 of five (two before), column 1 of five (one before).
    weight[3 * 25 + 1] = 1.0;
    let mut constant = |name: &str, shape: &[usize], values: Vec<f32>| {
        let tensor = Tensor::new(shape, values).unwrap();
        graph
            .constant_tensor(name, Role::Trainable, tensor)
            .unwrap()
    };
    let weight = constant("weight", &[2, 3, 5, 5], weight);
    let bias = constant("bias", &[2], vec![0.5, 0.0]);
    let conv = Conv {
        pads: vec![(2, 2); 2],
        ..Conv::new(2, 5)
    };
    let y = graph
        .add("conv", Op::Conv(conv), &[x, weight, bias])
        .unwrap();
    graph.set_outputs(vec![y]);
    graph
}

fn card() -> Card {
    let mut card = Card::of_outputs("neighbour", 2);
    card.input.slices = 3;
    card.input.intensity = "0:1".parse().unwrap();
    card
}

fn segmenter(folder: &Path, height: usize, width: usize, card: &Card) -> Segmenter {
    let path = folder.join("bundle.onnx");
    bundle::write(&path, &network(height, width), card).unwrap();
    let bundle: Bundle = bundle::read(&path).unwrap();
    let engine = slicewise_engines::load("native").unwrap();
    let options = Options {
        precision: Precision::F32,
        threads: 1,
        batch: 1,
    };
    Segmenter::new(&bundle, &*engine, options).unwrap()
}

/// Whether a voxel of the phantom is bright: scattered, so that every shift is another phantom.
fn bright(l: usize, p: usize, s: usize) -> bool {
    (l * 7 + p * 13 + s * 29 + l * p * s) % 5 < 2
}

/// The phantom in LPS order.
fn phantom() -> (Grid, Vec<u8>) {
    let affine = Affine {
        matrix: [[-0.7, 0.0, 0.05], [0.0, -0.9, 0.0], [0.0, 0.1, 2.5]],
        origin: [40.0, 30.0, -20.0],
    };
    let grid = Grid::new(SIZE, affine).unwrap();
    assert_eq!(grid.orientation(), Orientation::LPS);
    let [nl, np, _] = SIZE;
    let voxel = |at: usize| u8::from(bright(at % nl, at / nl % np, at / (nl * np)));
    (grid, (0..SIZE.iter().product()).map(voxel).collect())
}

/// What the network makes of the phantom's slices along S, in LPS order.
fn expected() -> Vec<u8> {
    let [nl, np, _] = SIZE;
    let label = |at: usize| {
        let (l, p, s) = (at % nl, at / nl % np, at / (nl * np));
        // Before the first slice comes the first slice again, before rows and columns nothing.
        u8::from(l >= 1 && p >= 2 && bright(l - 1, p - 2, s.saturating_sub(1)))
    };
    (0..SIZE.iter().product()).map(label).collect()
}

/// Writes the phantom in an axis order.
fn write_scan(folder: &Path, orientation: Orientation) -> PathBuf {
    let (grid, voxels) = phantom();
    let reorder = Reorder::between(Orientation::LPS, orientation);
    let voxels = Labels::U8(reorder.apply(grid.size(), &voxels));
    let grid = reorder.grid(&grid);
    let map = LabelMap::new(grid.clone(), voxels, ClassTable::default()).unwrap();
    let path = folder.join(format!("{orientation}.nii.gz"));
    write_labels(&path, &Header::of_grid(&grid), &map).unwrap();
    path
}

fn request(folder: &Path, input: &Path) -> Request {
    let out = |end: &str| folder.join(format!("out{end}"));
    Request {
        input: input.to_owned(),
        volume: 0,
        series: None,
        views: vec![View::Axial],
        intensity: None,
        post_process: None,
        outputs: OutputFiles {
            labels: out(".nii.gz"),
            snap: out(".labels.txt"),
            slicer: out(".ctbl"),
            statistics: Some(out(".statistics.json")),
            preview: Some(out(".preview.png")),
            segmentation: None,
        },
        free_memory: None,
    }
}

/// Segments, and gives the labels in LPS order after checking that they lie where the scan does.
fn run(segmenter: &mut Segmenter, request: &Request) -> Vec<u8> {
    segmenter
        .segment(request, &mut |_, _| {}, &|| false)
        .unwrap();
    let scan = scan::open(&request.input, 0).unwrap();
    let mut labels = scan::open(&request.outputs.labels, 0).unwrap();
    assert_eq!(labels.grid(), scan.grid());
    let volume = Volume::read(&mut *labels.source).unwrap();
    let [ni, nj, _] = volume.grid().size();
    let label = |at: usize| volume.value([at % ni, at / ni % nj, at / (ni * nj)]) as u8;
    let labels: Vec<u8> = (0..volume.grid().voxels()).map(label).collect();
    Reorder::between(volume.grid().orientation(), Orientation::LPS)
        .apply(volume.grid().size(), &labels)
}

#[test]
fn labels_are_the_same_in_all_48_axis_orders() {
    let folder = tempfile::tempdir().unwrap();
    let mut segmenter = segmenter(folder.path(), SIZE[1], SIZE[0], &card());
    let want = expected();
    assert!(want.contains(&1));
    let mut files: Option<(Vec<u8>, String)> = None;
    for orientation in Orientation::all() {
        let input = write_scan(folder.path(), orientation);
        let request = request(folder.path(), &input);
        assert_eq!(run(&mut segmenter, &request), want, "{orientation}");
        // The picture and the place of a class do not depend on the order either.
        let preview = fs::read(request.outputs.preview.unwrap()).unwrap();
        let statistics = fs::read_to_string(request.outputs.statistics.unwrap()).unwrap();
        let figures: serde_json::Value = serde_json::from_str(&statistics).unwrap();
        let class = &figures["classes"][0];
        let centre = class["centroid_mm"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap());
        let centre = centre.map(|v| format!("{v:.3} ")).collect::<String>();
        let (same_preview, same_centre) = files.get_or_insert((preview.clone(), centre.clone()));
        assert!(*same_preview == preview, "{orientation}");
        assert_eq!(*same_centre, centre, "{orientation}");
    }
}

#[test]
fn other_views_see_the_patient_as_radiologists_do() {
    let folder = tempfile::tempdir().unwrap();
    let [nl, np, ns] = SIZE;
    // Coronal: columns to the left, rows to the feet, slices to the back. Sagittal: columns to the back,
    // rows to the feet, slices to the left.
    for (view, height, width) in [(View::Coronal, ns, nl), (View::Sagittal, ns, np)] {
        let mut segmenter = segmenter(folder.path(), height, width, &card());
        let coronal = view == View::Coronal;
        let label = |at: usize| {
            let (l, p, s) = (at % nl, at / nl % np, at / (nl * np));
            let (column, slice) = if coronal { (l, p) } else { (p, l) };
            // Two rows before is two slices towards the head.
            let inside = column >= 1 && s + 2 < ns;
            let (column, slice) = (column.wrapping_sub(1), slice.saturating_sub(1));
            let (l, p) = if coronal {
                (column, slice)
            } else {
                (slice, column)
            };
            u8::from(inside && bright(l, p, s + 2))
        };
        let want: Vec<u8> = (0..nl * np * ns).map(label).collect();
        for orientation in ["LPS", "RAS", "SLA", "PIR"] {
            let input = write_scan(folder.path(), orientation.parse().unwrap());
            let mut request = request(folder.path(), &input);
            request.views = vec![view];
            assert_eq!(
                run(&mut segmenter, &request),
                want,
                "{view:?} {orientation}"
            );
        }
    }
}

#[test]
fn slices_of_another_size_are_resized_and_labels_come_back() {
    let folder = tempfile::tempdir().unwrap();
    // Twice as large: every pixel lies within one voxel, and neighbours are half as far.
    let mut segmenter = segmenter(folder.path(), SIZE[1] * 2, SIZE[0] * 2, &card());
    let input = write_scan(folder.path(), Orientation::LPS);
    let labels = run(&mut segmenter, &request(folder.path(), &input));
    assert_eq!(labels.len(), SIZE.iter().product::<usize>());
    assert!(labels.contains(&1) && labels.contains(&0));
}

#[test]
fn whole_volumes_and_streams_agree() {
    let folder = tempfile::tempdir().unwrap();
    let mut segmenter = segmenter(folder.path(), SIZE[1], SIZE[0], &card());
    let input = write_scan(folder.path(), Orientation::LPS);
    let streamed = request(folder.path(), &input);
    assert_eq!(run(&mut segmenter, &streamed), expected());
    // Nothing to fill in class 200, but a reason to hold the label map.
    let whole = Request {
        post_process: Some(PostProcess {
            largest_component: Vec::new(),
            fill_holes: vec![200],
        }),
        ..streamed.clone()
    };
    let before = fs::read(&streamed.outputs.labels).unwrap();
    assert_eq!(run(&mut segmenter, &whole), expected());
    assert_eq!(fs::read(&streamed.outputs.labels).unwrap(), before);
    // Moments of the whole scan are the same in one pass and in two.
    let scaled = |request: &Request| Request {
        intensity: Some(Intensity {
            z_score: Some(Scope::Scan),
            ..Intensity::default()
        }),
        ..request.clone()
    };
    let a = run(&mut segmenter, &scaled(&streamed));
    let b = run(&mut segmenter, &scaled(&whole));
    assert_eq!(a, b);
}

#[test]
fn a_manifest_says_that_a_scan_is_done_until_something_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut segmenter = segmenter(folder.path(), SIZE[1], SIZE[0], &card());
    let input = write_scan(folder.path(), Orientation::LPS);
    let request = request(folder.path(), &input);
    let path = folder.path().join("out.manifest.json");
    let asked = Asked::new(&segmenter, &request).unwrap();
    assert!(!Manifest::is_done(&path, &asked));
    let segmented = segmenter
        .segment(&request, &mut |_, _| {}, &|| false)
        .unwrap();
    let manifest = Manifest::new(&segmenter, &request, asked.clone(), &segmented).unwrap();
    manifest.write(&path).unwrap();
    assert!(Manifest::is_done(&path, &asked));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("not a medical device"), "{text}");
    let other = Request {
        intensity: Some("0:2".parse().unwrap()),
        ..request.clone()
    };
    assert!(!Manifest::is_done(
        &path,
        &Asked::new(&segmenter, &other).unwrap()
    ));
    fs::write(&request.outputs.labels, "torn").unwrap();
    assert!(!Manifest::is_done(&path, &asked));
}

#[test]
fn what_cannot_be_done_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut segmenter = segmenter(folder.path(), SIZE[1], SIZE[0], &card());
    let input = write_scan(folder.path(), Orientation::LPS);
    let good = request(folder.path(), &input);
    let bytes = fs::read(&input).unwrap();
    let torn = |name: &str, kept: usize| {
        let path = folder.path().join(name);
        fs::write(&path, &bytes[..kept]).unwrap();
        path
    };
    // The first half holds the header and the class table behind it.
    let half = torn("half.nii.gz", bytes.len() / 2);
    let most = torn("most.nii.gz", bytes.len() - 16);
    let cases = [
        (
            Request {
                free_memory: Some(1000),
                ..good.clone()
            },
            "1 MiB are free",
        ),
        (
            Request {
                input: half,
                ..good.clone()
            },
            "it ends before its voxels",
        ),
        (
            Request {
                input: most,
                ..good.clone()
            },
            "it ends within slice",
        ),
        (
            Request {
                volume: 1,
                ..good.clone()
            },
            "volume 2 of 1",
        ),
        (
            Request {
                views: vec![View::Axial, View::Coronal],
                ..good.clone()
            },
            "must be odd",
        ),
        (
            Request {
                input: folder.path().join("none.nii"),
                ..good.clone()
            },
            "none.nii",
        ),
    ];
    let before = fs::read_dir(folder.path()).unwrap().count();
    for (request, want) in cases {
        let got = segmenter.segment(&request, &mut |_, _| {}, &|| false);
        let got = got.unwrap_err().to_string();
        assert!(got.contains(want), "{got}, not {want}");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            before,
            "{want}"
        );
    }
    let ended = segmenter
        .segment(&good, &mut |_, _| {}, &|| true)
        .unwrap_err();
    assert_eq!(ended.to_string(), "interrupted");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
}
