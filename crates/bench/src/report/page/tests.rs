//! What must hold of every page, checked on what it says, not on how it looks.

use super::*;
use crate::record::tests::sample;
use crate::record::{Record, Visit};
use crate::report::Source;

fn page(records: &[(&str, &Record)]) -> String {
    let source = |(file, record): &(&str, &Record)| Source::parse(file, &record.to_json()).unwrap();
    Report::new(records.iter().map(source).collect()).html()
}

/// A record with several engines, intervals, decoders, volumes and arms without figures.
fn rich() -> Record {
    let mut record = sample();
    let template = record.arms[1].clone();
    record.arms.truncate(0);
    let models = [
        "mobileone_s0+fpn",
        "mobileone_s0+unet",
        "resnet18+fpn",
        "resnet18+unet",
        "stunet_s",
    ];
    for (m, model) in models.iter().enumerate() {
        for (e, engine) in ["native", "onnxruntime", "openvino"].iter().enumerate() {
            let mut arm = template.clone();
            arm.model = (*model).into();
            arm.engine = (*engine).into();
            arm.parameters = Some(2_000_000 + 1_234_567 * m as u64);
            arm.peak_rss_bytes = (e < 2).then_some((50 + 10 * m as u64) << 20);
            if *model == "stunet_s" {
                arm.dimensions = "3D".into();
                arm.input = vec![1, 1, 64, 64, 64];
            }
            let ms = 10.1 * (1.0 + m as f64) * (1.0 + e as f64);
            let visit = |round: usize| Visit {
                round,
                ms: vec![ms + 0.3 * round as f64],
                ..Visit::default()
            };
            arm.visits = (0..7).map(visit).collect();
            arm.summarise();
            record.arms.push(arm);
        }
    }
    record.arms.push(sample().arms[2].clone());
    record.suite = "combined".into();
    record
}

/// The exact values of a column, by the row's model and series.
fn cells(page: &str, key: &str) -> Vec<(String, String, Option<f64>)> {
    let attribute = format!("data-key=\"{key}\"");
    let text = |row: &str, of: &str| {
        let cell = row.split(&format!("data-key=\"{of}\"")).nth(1).unwrap();
        cell.split_once('>')
            .unwrap()
            .1
            .split('<')
            .next()
            .unwrap()
            .to_owned()
    };
    let rows = page
        .split("<tr")
        .filter(|row| row.contains("data-key=\"model\""));
    rows.map(|row| {
        let cell = row
            .split(&attribute)
            .nth(1)
            .unwrap()
            .split('>')
            .next()
            .unwrap();
        let value = cell.split("data-value=\"").nth(1);
        let value = value.map(|v| v.split('"').next().unwrap().parse().unwrap());
        (text(row, "model"), text(row, "series"), value)
    })
    .collect()
}

/// The JSON that the page holds.
fn embedded(page: &str) -> Vec<Value> {
    let parts = page.split("<script type=\"application/json\"").skip(1);
    parts
        .map(|part| {
            let json = part
                .split_once('>')
                .unwrap()
                .1
                .split("</script>")
                .next()
                .unwrap();
            serde_json::from_str(json).unwrap()
        })
        .collect()
}

#[test]
fn the_tables_hold_the_records_figures_exactly() {
    let record = rich();
    let page = page(&[("r.json", &record)]);
    type Figure = fn(&crate::record::Arm) -> Option<f64>;
    let figures: [(&str, Figure); 5] = [
        ("ms", |a| a.statistics.map(|s| s.median_ms)),
        ("throughput", |a| a.throughput),
        ("params", |a| a.parameters.map(|p| p as f64 / 1e6)),
        ("efficiency", |a| a.efficiency()),
        ("memory", |a| {
            a.peak_rss_bytes.map(|b| b as f64 / f64::from(1 << 20))
        }),
    ];
    for (key, of) in figures {
        let cells = cells(&page, key);
        assert_eq!(cells.len(), record.arms.len(), "every arm has its row");
        for arm in record.arms.iter().filter(|a| a.statistics.is_some()) {
            let row = (cells.iter()).find(|c| c.0 == arm.model && c.1.starts_with(&arm.mode()));
            assert_eq!(row.unwrap().2, of(arm), "{key} of {}", arm.label());
        }
    }
}

#[test]
fn the_page_holds_the_files_it_was_made_of() {
    let (a, b) = (rich(), sample());
    let page = page(&[("a.json", &a), ("b.json", &b)]);
    let held = embedded(&page);
    assert_eq!(held.len(), 2);
    for (json, record) in held.iter().zip([a, b]) {
        assert_eq!(Record::parse(&json.to_string()).unwrap(), record);
    }
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = page(&[("r.json", &rich())]);
    for attribute in [" src=", " href=", " action=", " srcset=", " data="] {
        for rest in page.split(attribute).skip(1) {
            let value: String = rest.chars().skip(1).take_while(|c| *c != '"').collect();
            let inside = value.starts_with('#') || value == "data:,";
            assert!(inside, "{attribute}{value}");
        }
    }
    assert!(!page.contains("://"), "no address of any kind");
    assert!(!page.contains("@import") && !page.contains("url("));
}

#[test]
fn what_a_record_says_is_text_and_nothing_else() {
    let evil = "</script><img src=x onerror=alert(1)>&\"'";
    let mut record = rich();
    record.suite = evil.into();
    record.command = vec![evil.into()];
    record.started = evil.into();
    record.machine.cpu = Some(evil.into());
    record.machine.virtualization = Some(evil.into());
    record.engines[0].name = evil.into();
    record.engines[0].sha256 = Some(evil.into());
    for arm in &mut record.arms {
        arm.model = format!("{evil}{}", arm.model);
        arm.engine += evil;
        arm.precision = evil.into();
        arm.task = evil.into();
        arm.reason = Some(evil.into());
    }
    let source = Source::parse(&format!("{evil}.json"), &record.to_json()).unwrap();
    let report = Report::new(vec![source]);
    let page = report.html();
    assert!(!page.contains("<img") && !page.contains("onerror=alert(1)>&\""));
    assert_eq!(
        page.matches("</script>").count(),
        2,
        "the data's and the script's"
    );
    assert_eq!(embedded(&page)[0]["suite"], evil);
    for plot in report.plots() {
        assert!(!plot.svg().contains("<img"), "{}", plot.name);
        assert!(
            plot.name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "{}",
            plot.name
        );
        plot.png().unwrap();
    }
}

#[test]
fn every_plot_of_the_original_has_its_counterpart() {
    let record = rich();
    let source = Source::parse("r.json", &record.to_json()).unwrap();
    let names: Vec<String> = Report::new(vec![source])
        .plots()
        .into_iter()
        .map(|p| p.name)
        .collect();
    for want in [
        "combined-throughput",         // of encoders by mode; of quantization
        "combined-speed-up",           // encoders: the gain of the modes
        "combined-scatter-native-f32", // of encoders, FPN and U-Net, by family
        "combined-decoders",           // combined: FPN against U-Net
        "combined-decoder-size",       // combined: the decoders' sizes
        "combined-latency",            // of quantization by mode
        "2d-against-3d",               // slices against volumes
        "combined-efficiency",
        "combined-memory",
    ] {
        assert!(
            names.iter().any(|n| n == want),
            "{want} is not among {names:?}"
        );
    }
}

#[test]
fn records_of_odd_shapes_have_a_page() {
    let mut empty = sample();
    empty.arms.clear();
    let mut unmeasured = sample();
    unmeasured.arms.retain(|a| a.statistics.is_none());
    let mut one = sample();
    one.arms.truncate(1);
    let mut odd = rich();
    for arm in &mut odd.arms {
        arm.input = vec![usize::MAX; 40];
        arm.parameters = Some(u64::MAX);
        arm.throughput = Some(f64::MAX);
        if let Some(s) = &mut arm.statistics {
            s.median_ms = f64::MIN_POSITIVE;
        }
    }
    for record in [empty, unmeasured, one, odd] {
        let page = page(&[("r.json", &record)]);
        assert!(page.contains("</html>"));
        let seen = page.split("<script").next().unwrap();
        for bad in ["NaN", "inf\"", "inf,", " inf"] {
            assert!(!seen.contains(bad), "{bad}");
        }
    }
    assert!(page(&[]).contains("no record of a benchmark"));
}

#[test]
fn headers_cells_and_links_fit_together() {
    let page = page(&[("r.json", &rich()), ("s.json", &sample())]);
    for link in page.split("href=\"#").skip(1) {
        let target: String = link.chars().take_while(|c| *c != '"').collect();
        assert_eq!(
            page.matches(&format!(" id=\"{target}\"")).count(),
            1,
            "{target}"
        );
    }
    assert!(page.contains("aria-label=\"Time of one run."));
}

#[test]
fn verdicts_percentiles_wrong_outputs_and_scans_are_shown_where_a_record_has_them() {
    let mut record = rich();
    for arm in &mut record.arms {
        arm.versus_reference = Some(crate::verdict::Comparison {
            ratio: 1.25,
            verdict: crate::verdict::Verdict::Slower,
            ..Default::default()
        });
        arm.scan = Some(crate::scan::ScanTime {
            runs: 300,
            network_seconds: 12.5,
            ..Default::default()
        });
        arm.latency = Some(crate::statistics::Latency {
            p90_ms: Some(33.25),
            ..Default::default()
        });
    }
    record.noise_floor = Some(crate::verdict::NoiseFloor {
        pairs: 15,
        floor: 0.031,
        ..Default::default()
    });
    record.usage.steal = Some(0.25);
    let wrong = &mut record.arms[1];
    wrong.status = crate::record::Status::Wrong;
    wrong.check = Some(crate::record::Check {
        against: "native f32".into(),
        measure: "labels that differ".into(),
        error: 0.5,
        tolerance: 0.001,
    });
    let page = page(&[("r.json", &record)]);
    for want in [
        "1.25× SLOWER",
        "33.2",
        "12.5",
        "Noise floor of r: 3.1 %",
        "gave 25 % of the CPU time to others",
        "<tr class=\"wrong\">",
        "WRONG: labels that differ 5.00e-1 against native f32",
        "A whole scan",
    ] {
        assert!(page.contains(want), "{want}");
    }
    let without = cells(&page, "ms").into_iter().filter(|c| c.2.is_none());
    assert_eq!(
        without.count(),
        2,
        "one wrong and one not run: neither has a figure"
    );
}

#[test]
fn piles_of_images_are_not_compared_with_single_ones() {
    let mut record = rich();
    let mut pile = record.arms[0].clone();
    (pile.streams, pile.threads, pile.burst) = (2, 1, Some(40));
    pile.summarise();
    record.arms.push(pile);
    let page = page(&[("r.json", &record)]);
    assert!(page.contains("to label maps of 117 classes, all there at once"));
    assert!(page.contains("ms, a pile of images"));
}
