//! Going on with a record that was broken off.

use crate::machine::Machine;
use crate::record::{Arm, EngineFacts, Record, Status};
use crate::rounds::Protocol;

/// Makes a broken record ready to be gone on with: arms that are done keep their figures, those that were
/// under way begin anew. The reference arm keeps the visits that other arms' are paired with.
///
/// # Errors
/// If there is nothing left to do, or what would be measured now could not be compared with what is
/// there: another program, engine or CPU.
pub fn prepare(
    record: &mut Record,
    program: Option<&str>,
    engines: &[EngineFacts],
    machine: &Machine,
) -> Result<(), String> {
    if record.complete {
        return Err("the record is complete; nothing is left to measure".into());
    }
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    if record.program_sha256.is_none() || record.program_sha256.as_deref() != program {
        return Err(anew(
            record,
            format!(
                "the record is of another build of slicewise ({})",
                record.slicewise
            ),
        ));
    }
    if record.machine.cpu != machine.cpu || record.machine.usable_threads != machine.usable_threads
    {
        let of = |m: &Machine| format!("{}, {} threads", known(&m.cpu), m.usable_threads);
        let problem = format!(
            "the record is of another machine: {}; here is {}",
            of(&record.machine),
            of(machine)
        );
        return Err(anew(record, problem));
    }
    for engine in &record.engines {
        let here = engines.iter().find(|e| e.name == engine.name);
        if here != Some(engine) {
            let here = here.map_or("none".to_owned(), |e| e.version.clone());
            let problem = format!(
                "the record is of {} {}; here is {here}",
                engine.name, engine.version
            );
            return Err(anew(record, problem));
        }
    }
    for arm in &mut record.arms {
        if !arm.done && arm.status != Status::Skipped {
            restart(arm);
        }
    }
    record.finished = None;
    Ok(())
}

/// The visits' time and the number of rounds are the record's.
pub fn protocol(record: &Record) -> Protocol {
    let ms = |ms: f64| std::time::Duration::from_secs_f64((ms / 1e3).clamp(0.0, 1e6));
    Protocol {
        rounds: record.options.rounds,
        most_rounds: record.options.most_rounds,
        visit: ms(record.options.visit_ms),
        settle: ms(record.options.settle_ms),
    }
}

fn anew(record: &Record, problem: String) -> String {
    format!("{problem}; measure anew with: {}", record.command.join(" "))
}

/// What is known beforehand stays, and what the trial said.
fn restart(arm: &mut Arm) {
    *arm = Arm {
        model: std::mem::take(&mut arm.model),
        dimensions: std::mem::take(&mut arm.dimensions),
        engine: std::mem::take(&mut arm.engine),
        precision: std::mem::take(&mut arm.precision),
        threads: arm.threads,
        streams: arm.streams,
        task: std::mem::take(&mut arm.task),
        input: std::mem::take(&mut arm.input),
        classes: arm.classes,
        parameters: arm.parameters,
        encoder_parameters: arm.encoder_parameters,
        macs: arm.macs,
        accuracy: arm.accuracy.take(),
        reference: arm.reference,
        first_ms: arm.first_ms.filter(|_| arm.peak_rss_bytes.is_some()),
        peak_rss_bytes: arm.peak_rss_bytes,
        ..Arm::default()
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    fn broken() -> Record {
        let mut record = sample();
        record.program_sha256 = Some("cafe".into());
        record.arms[0].done = true;
        record
    }

    #[test]
    fn finished_arms_stay_and_the_others_begin_anew() {
        let mut r = broken();
        let (engines, machine) = (r.engines.clone(), r.machine.clone());
        let before = r.clone();
        prepare(&mut r, Some("cafe"), &engines, &machine).unwrap();
        assert_eq!(r.arms[0], before.arms[0]);
        let under_way = &r.arms[1];
        assert_eq!(under_way.status, Status::NotRun);
        assert!(under_way.visits.is_empty() && under_way.statistics.is_none());
        assert!(under_way.is_like(&before.arms[1]));
        assert_eq!(under_way.peak_rss_bytes, before.arms[1].peak_rss_bytes);
    }

    #[test]
    fn what_could_not_be_compared_is_refused_with_the_reason() {
        let refused = |change: &dyn Fn(&mut Record)| {
            let mut r = broken();
            let (engines, machine) = (r.engines.clone(), r.machine.clone());
            change(&mut r);
            prepare(&mut r, Some("cafe"), &engines, &machine).unwrap_err()
        };
        type Case<'a> = (&'a dyn Fn(&mut Record), &'a str);
        let cases: [Case; 5] = [
            (&|r| r.complete = true, "nothing is left"),
            (&|r| r.program_sha256 = None, "another build"),
            (&|r| r.program_sha256 = Some("f00d".into()), "another build"),
            (
                &|r| r.machine.cpu = Some("Some CPU".into()),
                "another machine: Some CPU",
            ),
            (
                &|r| r.engines[0].version = "0.0.1".into(),
                "of native 0.0.1; here is 0.1.0",
            ),
        ];
        for (change, want) in cases {
            let error = refused(change);
            assert!(error.contains(want), "{error}");
        }
        assert!(refused(&|r| r.program_sha256 = None).ends_with("anew with: slicewise bench"));
    }
}
