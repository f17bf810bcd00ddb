//! Advice as a person reads it on a terminal.

use super::{Advice, Choice, figure};
use crate::accuracy::share;
use crate::report::Row;
use crate::table::{Align, Table};

/// Warnings that are shown of each rule.
const SHOWN: usize = 3;

/// The advice as text: uses, what to avoid, the Pareto front.
pub fn render(advice: &Advice) -> String {
    let table = uses(advice);
    let mut text = match table.is_empty() {
        true => String::new(),
        false => table.to_string(),
    };
    for missing in advice
        .uses
        .iter()
        .filter_map(|u| Some((u.name, u.missing.as_ref()?)))
    {
        text += &format!("{}: {}\n", missing.0, missing.1);
    }
    text += &limits(advice);
    if !table.is_empty() {
        text += "\nwhy\n";
    }
    for recommendation in &advice.uses {
        for choice in &recommendation.choices {
            text += &format!(
                "  {}: {} on {} has {} ({})\n",
                recommendation.name,
                choice.arm.model,
                choice.arm.place(),
                choice.reason,
                recommendation.rule
            );
        }
    }
    text += &avoid(advice);
    if !advice.pareto.is_empty() {
        text += "\nnothing beats these in speed, parameters and memory at once\n";
        text += &front(&advice.pareto).to_string();
    }
    text
}

/// The columns that every table of arms has.
const FIGURES: [(&str, Align); 7] = [
    ("engine", Align::Left),
    ("threads", Align::Right),
    ("img/s", Align::Right),
    ("ms", Align::Right),
    ("params M", Align::Right),
    ("img/s/M", Align::Right),
    ("memory MB", Align::Right),
];

fn figures(row: &Row) -> [String; 7] {
    let or_dash = |v: Option<f64>| v.map_or("-".into(), figure);
    [
        row.mode(),
        row.threads.to_string(),
        or_dash(row.speed),
        or_dash(row.ms),
        or_dash(row.params),
        or_dash(row.efficiency),
        row.memory.map_or("-".into(), |m| format!("{m:.0}")),
    ]
}

fn uses(advice: &Advice) -> Table {
    let mut header = vec![("use", Align::Left), ("model", Align::Left)];
    header.extend(FIGURES);
    header.push(("accuracy", Align::Left));
    let mut table = Table::new(&header);
    for recommendation in &advice.uses {
        for (i, choice) in recommendation.choices.iter().enumerate() {
            let name = if i == 0 { recommendation.name } else { "" };
            let mut cells = vec![name.to_owned(), choice.arm.model.clone()];
            cells.extend(figures(&choice.arm));
            cells.push(accuracy(choice));
            table.row(cells);
        }
    }
    table
}

fn accuracy(choice: &Choice) -> String {
    let kept = choice.accuracy.as_ref().and_then(|a| a.kept());
    kept.map_or("not measured".into(), |(what, kept)| {
        format!("{what} {}", share(kept))
    })
}

fn limits(advice: &Advice) -> String {
    let mut text = String::new();
    for effect in &advice.effects {
        let unknown = match effect.unknown {
            0 => String::new(),
            n => format!(", and {n} for want of a figure"),
        };
        let unjudged = match effect.unjudged {
            0 => String::new(),
            n => format!("; of {n} it was not measured, and they stay"),
        };
        text += &format!(
            "{} leaves out {} of {} arms{unknown}{unjudged}\n",
            effect.limit, effect.beyond, effect.of
        );
    }
    if let Some(miss) = &advice.nearest_miss {
        text += &format!(
            "no arm is within the limits; nearest is {} on {}, which misses {}\n",
            miss.model,
            miss.place,
            miss.misses.join(" and ")
        );
    }
    text
}

fn avoid(advice: &Advice) -> String {
    let mut text = String::new();
    let mut rules: Vec<&str> = advice.avoid.iter().map(|w| w.rule).collect();
    rules.dedup();
    for rule in rules {
        let warnings: Vec<_> = advice.avoid.iter().filter(|w| w.rule == rule).collect();
        text += &format!("\navoid: {rule}\n");
        for warning in warnings.iter().take(SHOWN) {
            text += &format!("  {}: {}\n", warning.what, warning.why);
        }
        if warnings.len() > SHOWN {
            text += &format!("  and {} more; --json names all\n", warnings.len() - SHOWN);
        }
    }
    text
}

fn front(rows: &[Row]) -> Table {
    let mut header = vec![("model", Align::Left)];
    header.extend(FIGURES);
    let mut table = Table::new(&header);
    for row in rows {
        table.row(std::iter::once(row.model.clone()).chain(figures(row)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::{Limits, advise};
    use crate::record::tests::sample;

    #[test]
    fn every_line_has_its_figures_and_accuracy_is_not_claimed() {
        let mut record = sample();
        record.arms[0].model = "resnet18+fpn".into();
        record.arms[1].model = "mobileone_s0+unet".into();
        let text = render(&advise("r.json", &record, &Limits::default(), 1));
        let line = text.lines().find(|l| l.starts_with("max speed")).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        let want = "max speed mobileone_s0+unet native f32 2 100 10.0 2.00 50.0 100 not measured";
        assert_eq!(cells.join(" "), want);
        assert!(text.contains("fine segmentation: mobileone_s0+unet on native f32, 2 threads has 100 img/s; the only one"));
        let limits = Limits {
            memory: Some(10.0),
            ..Limits::default()
        };
        let text = render(&advise("r.json", &record, &limits, 1));
        assert!(
            text.contains("--memory 10.0 leaves out 2 of 2 arms\n"),
            "{text}"
        );
        assert!(
            text.contains("no arm is within the limits; nearest is "),
            "{text}"
        );
        assert!(
            text.contains("misses --memory 10.0 by 900 % (100 MB)"),
            "{text}"
        );
    }
}
